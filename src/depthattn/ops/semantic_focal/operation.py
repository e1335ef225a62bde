"""The semantic focal loss as operators with first and second derivatives, on logits of the labels' size or another."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import keeps_gradient, load
from depthattn.ops.validation import validates
from depthattn.ops.library import define, run_backward, vjp_of_vjp
from depthattn.ops.masking import compute_dtype, valid_labels

# (logits, target, weight, gamma, ignore_index) to a value for each label.
PerPixel = Callable[[Tensor, Tensor, Tensor | None, float, int], Tensor]

_OPTIONS = "float gamma, int ignore_index"


class FocalOperation(NamedTuple):
    """One form of the loss.

    Attributes:
        function: apply(logits, target, weight, gamma, ignore_index, keep, backend) returns sums (B,), labelled pixels
            (B,), sums of their weights (B,) and what ``keep`` asks for.
        per_pixel: its reference formula.
        triton_terms: how many numbers per label the backward kernels read that the forward kernels have.
    """

    function: type[Function]
    per_pixel: PerPixel
    triton_terms: int

    def keep(self, backend: str, dtype: torch.dtype) -> str:
        """What the forward pass keeps where a backward pass may follow.

        ``"gradient"``, unscaled, which the first backward pass gives away; ``"terms"`` of each label; or
        ``"nothing"``.
        """
        if keeps_gradient(backend, dtype):
            return "gradient"
        return "terms" if backend == "triton" and self.triton_terms else "nothing"


def check_labels(target: Tensor, num_classes: int, ignore_index: int) -> None:
    """Raise a ValueError that names the first label outside [0, num_classes) that is not ``ignore_index``."""
    if not validates(target.device):
        return
    wrong = ~valid_labels(target, num_classes, ignore_index) & (target != ignore_index)
    if wrong.any():
        label = int(target[wrong][0])
        raise ValueError(
            f"semantic_focal_loss: expected labels in [0, {num_classes}) or ignore_index = {ignore_index}, got {label}"
        )


def focal_operation(name: str, per_pixel: PerPixel, triton_terms: int = 0) -> FocalOperation:
    """Register ``name`` and its backward pass with the implementations in the folder of that name."""

    def forward(
        logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, ignore_index: int,
        keep: str, backend: str,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        check_labels(target, logits.shape[1], ignore_index)
        result: tuple[Tensor, Tensor, Tensor, Tensor] = load(name, backend).forward(
            logits, target, weight, gamma, ignore_index, keep != "nothing"
        )
        return result

    def forward_fake(
        logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, ignore_index: int,
        keep: str, backend: str,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        batch, wide = logits.shape[0], compute_dtype(logits)
        if keep == "terms":
            kept = logits.new_empty(triton_terms, *target.shape, dtype=wide)
        else:
            kept = logits.new_empty(logits.shape if keep == "gradient" else 0)
        return (
            logits.new_empty(batch, dtype=wide),
            logits.new_empty(batch, dtype=torch.int64),
            logits.new_empty(batch, dtype=wide),
            kept,
        )

    def backward(
        scale: Tensor, logits: Tensor, target: Tensor, weight: Tensor | None, terms: Tensor | None, gamma: float,
        ignore_index: int, backend: str,
    ) -> Tensor:  # fmt: skip
        kept = () if terms is None else (terms,)
        result: Tensor = load(name, backend).backward(scale, logits, target, weight, gamma, ignore_index, *kept)
        return result

    tensors = "Tensor logits, Tensor target, Tensor? weight"
    define(
        f"{name}({tensors}, {_OPTIONS}, str keep, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
        forward,
        forward_fake,
    )
    define(
        f"{name}_backward(Tensor scale, {tensors}, Tensor? terms, {_OPTIONS}, str backend) -> Tensor",
        backward,
        lambda scale, logits, *_: logits.new_empty(logits.shape),
    )
    forward_operator = getattr(torch.ops.depthattn, name)
    backward_operator = getattr(torch.ops.depthattn, f"{name}_backward")

    class SemanticFocalGradient(Function):
        @staticmethod
        def forward(*arguments: Any) -> Any:
            return backward_operator(*arguments)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
            ctx.save_for_backward(*inputs[:4])
            ctx.options = inputs[5:7]

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
            scale, logits, target, weight = ctx.saved_tensors

            def sums(logits: Tensor) -> tuple[Tensor]:
                return (per_pixel(logits, target, weight, *ctx.options).flatten(1).sum(1),)

            (to_scale,), (to_logits,) = vjp_of_vjp(sums, (logits,), (scale,), (grad,))
            return to_scale, to_logits, *(None,) * 6

    class SemanticFocal(Function):
        @staticmethod
        def forward(*arguments: Any) -> Any:
            return forward_operator(*arguments)

        @staticmethod
        def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
            _, counts, weight_sums, kept = output
            gamma, ignore_index, keep, backend = inputs[3:]
            ctx.save_for_backward(*inputs[:3], kept if keep == "terms" else None)
            ctx.options = (gamma, ignore_index, backend)
            ctx.gradient = kept if keep == "gradient" else None
            ctx.mark_non_differentiable(counts, weight_sums, kept)
            ctx.set_materialize_grads(False)

        @staticmethod
        def backward(ctx: Any, scale: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
            if scale is None:
                return (None,) * 7
            gradient, ctx.gradient = ctx.gradient, None
            if gradient is None or torch.is_grad_enabled():
                gradient = run_backward(SemanticFocalGradient, scale, *ctx.saved_tensors, *ctx.options)
            else:
                gradient = gradient.mul_(scale.view(-1, *(1,) * (gradient.ndim - 1)))
            return gradient, *(None,) * 6

    return FocalOperation(SemanticFocal, per_pixel, triton_terms)
