"""The semantic focal loss on bilinearly resized logits as an operator, with first and second derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import load
from depthattn.ops.library import define, run_backward, vjp_of_vjp
from depthattn.ops.masking import compute_dtype
from depthattn.ops.semantic_focal import check_labels
from depthattn.ops.semantic_focal_upsample import reference


def _forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, ignore_index: int,
    keep_gradient: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    check_labels(target, logits.shape[1], ignore_index)
    implementation = load("semantic_focal_upsample", backend)
    result: tuple[Tensor, Tensor, Tensor, Tensor] = implementation.forward(
        logits, target, weight, gamma, ignore_index, keep_gradient
    )
    return result


def _forward_fake(
    logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, ignore_index: int,
    keep_gradient: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    batch = logits.shape[0]
    dtype = compute_dtype(logits)
    return (
        logits.new_empty(batch, dtype=dtype),
        logits.new_empty(batch, dtype=torch.int64),
        logits.new_empty(batch, dtype=dtype),
        logits.new_empty(logits.shape if keep_gradient else 0),
    )


def _backward(
    scale: Tensor, logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, ignore_index: int,
    backend: str,
) -> Tensor:  # fmt: skip
    implementation = load("semantic_focal_upsample", backend)
    result: Tensor = implementation.backward(scale, logits, target, weight, gamma, ignore_index)
    return result


def _backward_fake(scale: Tensor, logits: Tensor, *_: object) -> Tensor:
    return logits.new_empty(logits.shape)


define(
    "semantic_focal_upsample(Tensor logits, Tensor target, Tensor? weight, float gamma, int ignore_index, "
    "bool keep_gradient, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _forward_fake,
)
define(
    "semantic_focal_upsample_backward(Tensor scale, Tensor logits, Tensor target, Tensor? weight, float gamma, "
    "int ignore_index, str backend) -> Tensor",
    _backward,
    _backward_fake,
)


class SemanticFocalUpsample(Function):
    """apply(logits, target, weight, gamma, ignore_index, keep_gradient, backend)

    Logits are (B,K,h,w), target (B,H,W). Returns sums (B,), labelled pixels (B,), sums of their weights (B,) and the
    unscaled gradient, (B,K,h,w) with ``keep_gradient``, else empty.
    """

    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.depthattn.semantic_focal_upsample(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        _, counts, weight_sums, gradient = output
        ctx.save_for_backward(*inputs[:3])
        gamma, ignore_index, keep_gradient, backend = inputs[3:]
        ctx.options = (gamma, ignore_index, backend)
        ctx.gradient = gradient if keep_gradient else None
        ctx.mark_non_differentiable(counts, weight_sums, gradient)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, scale: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if scale is None:
            return (None,) * 7
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None or torch.is_grad_enabled():
            gradient = run_backward(_SemanticFocalUpsampleBackward, scale, *ctx.saved_tensors, *ctx.options)
        else:
            gradient = gradient.mul_(scale.view(-1, 1, 1, 1))
        return gradient, *(None,) * 6


class _SemanticFocalUpsampleBackward(Function):
    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.depthattn.semantic_focal_upsample_backward(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.options = inputs[4:6]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scale, logits, target, weight = ctx.saved_tensors

        def sums(logits: Tensor) -> tuple[Tensor]:
            return (reference.per_pixel(logits, target, weight, *ctx.options).sum((1, 2)),)

        (to_scale,), (to_logits,) = vjp_of_vjp(sums, (logits,), (scale,), (grad,))
        return to_scale, to_logits, *(None,) * 5
