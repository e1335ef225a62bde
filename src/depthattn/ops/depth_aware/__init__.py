"""The depth-aware loss as an operator: per-image sums, counts and normalisers, with first and second derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import load
from depthattn.ops.depth_aware import reference
from depthattn.ops.library import define, run_backward, vjp_of_vjp
from depthattn.ops.masking import compute_dtype


def _forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, distance: str, beta: float, max_depth: float | None,
    log_offset: float, detach_weight: bool, keep_gradient: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    implementation = load("depth_aware", backend)
    result: tuple[Tensor, Tensor, Tensor, Tensor] = implementation.forward(
        pred, target, mask, distance, beta, max_depth, log_offset, detach_weight, keep_gradient
    )
    return result


def _forward_fake(
    pred: Tensor, target: Tensor, mask: Tensor | None, distance: str, beta: float, max_depth: float | None,
    log_offset: float, detach_weight: bool, keep_gradient: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    batch = pred.shape[0]
    dtype = compute_dtype(pred, target)
    return (
        pred.new_empty(batch, dtype=dtype),
        pred.new_empty(batch, dtype=torch.int64),
        pred.new_empty(batch, dtype=dtype),
        pred.new_empty(pred.shape if keep_gradient else 0),
    )


def _backward(
    scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, norm: Tensor, distance: str,
    beta: float, log_offset: float, detach_weight: bool, backend: str,
) -> Tensor:  # fmt: skip
    implementation = load("depth_aware", backend)
    result: Tensor = implementation.backward(scale, pred, target, mask, norm, distance, beta, log_offset, detach_weight)
    return result


def _backward_fake(scale: Tensor, pred: Tensor, *_: object) -> Tensor:
    return pred.new_empty(pred.shape)


define(
    "depth_aware(Tensor pred, Tensor target, Tensor? mask, str distance, float beta, float? max_depth, "
    "float log_offset, bool detach_weight, bool keep_gradient, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _forward_fake,
)
define(
    "depth_aware_backward(Tensor scale, Tensor pred, Tensor target, Tensor? mask, Tensor norm, str distance, "
    "float beta, float log_offset, bool detach_weight, str backend) -> Tensor",
    _backward,
    _backward_fake,
)


class DepthAware(Function):
    """apply(pred, target, mask, distance, beta, max_depth, log_offset, detach_weight, keep_gradient, backend)

    Maps are (B,H,W). Returns sums (B,), counts (B,), normalisers m (B,) and the unscaled gradient, (B,H,W) with
    ``keep_gradient``, else empty.
    """

    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.depthattn.depth_aware(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        pred, target, mask, distance, beta, _, log_offset, detach_weight, keep_gradient, backend = inputs
        _, counts, norm, gradient = output
        ctx.save_for_backward(pred, target, mask, norm)
        ctx.options = (distance, beta, log_offset, detach_weight, backend)
        ctx.gradient = gradient if keep_gradient else None
        ctx.mark_non_differentiable(counts, norm, gradient)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, scale: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if scale is None:
            return (None,) * 10
        gradient, ctx.gradient = ctx.gradient, None
        if gradient is None or torch.is_grad_enabled():
            gradient = run_backward(_DepthAwareBackward, scale, *ctx.saved_tensors, *ctx.options)
        else:
            gradient = gradient.mul_(scale.view(-1, 1, 1))
        return gradient, *(None,) * 9


class _DepthAwareBackward(Function):
    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.depthattn.depth_aware_backward(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:5])
        ctx.options = inputs[5:9]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scale, pred, target, mask, norm = ctx.saved_tensors

        def sums(pred: Tensor) -> tuple[Tensor]:
            return (reference.per_pixel(pred, target, mask, norm, *ctx.options).sum((1, 2)),)

        (to_scale,), (to_pred,) = vjp_of_vjp(sums, (pred,), (scale,), (grad,))
        return to_scale, to_pred, *(None,) * 8
