"""The depth side of the attention-driven loss as one operator: both depth losses from one look at the maps.

docs/derivations/attention_driven.md says why one pass and one gradient suffice.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.attention_depth import reference
from depthattn.ops.backend import load
from depthattn.ops.library import define, run_backward, vjp_of_vjp
from depthattn.ops.masking import compute_dtype
from depthattn.ops.reduce import denominators


def _forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, weights: Tensor, distance: str,
    beta: float, max_depth: float | None, log_offset: float, detach_weight: bool, ignore_index: int,
    means: list[bool], per_image: bool, keep_gradient: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    implementation = load("attention_depth", backend)
    options = distance, beta, log_offset, detach_weight, ignore_index
    result: tuple[Tensor, Tensor, Tensor, Tensor]
    if keep_gradient:
        result = implementation.forward_with_gradient(
            pred, target, mask, labels, max_depth, options, weights, means, per_image
        )
    else:
        result = *implementation.forward(pred, target, mask, labels, max_depth, options), pred.new_empty(0)
    return result


def _forward_fake(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, weights: Tensor, distance: str,
    beta: float, max_depth: float | None, log_offset: float, detach_weight: bool, ignore_index: int,
    means: list[bool], per_image: bool, keep_gradient: bool, backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    batch, dtype = pred.shape[0], compute_dtype(pred, target)
    return (
        pred.new_empty(3, batch, dtype=dtype),
        pred.new_empty(3, batch, dtype=torch.int64),
        pred.new_empty(batch, dtype=dtype),
        pred.new_empty(pred.shape if keep_gradient else 0),
    )


def _backward(
    scales: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, norm: Tensor,
    distance: str, beta: float, log_offset: float, detach_weight: bool, ignore_index: int, backend: str,
) -> Tensor:  # fmt: skip
    implementation = load("attention_depth", backend)
    options = distance, beta, log_offset, detach_weight, ignore_index
    result: Tensor = implementation.backward(scales, pred, target, mask, labels, norm, options)
    return result


def _backward_fake(scales: Tensor, pred: Tensor, *_: object) -> Tensor:
    return pred.new_empty(pred.shape)


define(
    "attention_depth(Tensor pred, Tensor target, Tensor? mask, Tensor? labels, Tensor weights, str distance, "
    "float beta, float? max_depth, float log_offset, bool detach_weight, int ignore_index, bool[] means, "
    "bool per_image, bool keep_gradient, str backend) -> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _forward_fake,
)
define(
    "attention_depth_backward(Tensor scales, Tensor pred, Tensor target, Tensor? mask, Tensor? labels, Tensor norm, "
    "str distance, float beta, float log_offset, bool detach_weight, int ignore_index, str backend) -> Tensor",
    _backward,
    _backward_fake,
)


class AttentionDepth(Function):
    """apply(pred, target, mask, labels, weights, distance, beta, max_depth, log_offset, detach_weight, ignore_index,
    means, per_image, keep_gradient, backend)

    Maps are (B,H,W) with H, W >= 3. The three terms are the depth-aware loss and the depth and the semantic term of the
    joint gradient loss; ``weights`` (3,) weighs them and ``means`` says which of them are divided by what they counted,
    the others being sums. Returns their weighted total, (B,) if ``per_image`` and (1,) over the batch otherwise, the
    only output with a gradient, and the terms themselves, (3,B) or (3,1). With ``keep_gradient`` the total's gradient
    is written in the forward pass.
    """

    @staticmethod
    def forward(*arguments: Any) -> Any:
        sums, counts, norm, gradient = torch.ops.depthattn.attention_depth(*arguments)
        means, per_image = arguments[11:13]
        divisors = denominators(counts, means, per_image).to(sums.dtype)
        terms = _totals(sums, per_image) / divisors
        return (arguments[4][:, None] * terms).sum(0), terms, divisors, norm, gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        (
            *maps, weights, distance, beta, _, log_offset, detach_weight, ignore_index, _, per_image, keep_gradient,
            backend,
        ) = inputs  # fmt: skip
        _, terms, divisors, norm, gradient = output
        ctx.save_for_backward(*maps, norm, weights, terms, divisors)
        ctx.options = distance, beta, log_offset, detach_weight, ignore_index
        ctx.per_image = per_image
        ctx.backend = backend
        ctx.kept = keep_gradient
        ctx.gradient = gradient if keep_gradient else None
        ctx.mark_non_differentiable(terms, divisors, norm, gradient)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, scale: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        if scale is None:
            return (None,) * 15
        *maps, weights, terms, divisors = ctx.saved_tensors
        to_pred = to_weights = None
        if ctx.needs_input_grad[0]:
            to_pred, ctx.gradient = ctx.gradient, None
            if to_pred is None or torch.is_grad_enabled():
                # Where a buffer was kept, its bits: the total's own gradient first, then the scale.
                scales = (weights[:, None] if ctx.kept else scale * weights[:, None]) / divisors
                scales = scales.expand(3, len(maps[0]))
                to_pred = run_backward(_AttentionDepthBackward, scales, *maps, *ctx.options, ctx.backend)
            if ctx.kept:
                scale_of_image = scale[:, None, None]
                to_pred = to_pred * scale_of_image if torch.is_grad_enabled() else to_pred.mul_(scale_of_image)
        if ctx.needs_input_grad[4]:
            if torch.is_grad_enabled():
                # The terms follow the prediction, and whoever differentiates again has to see it.
                terms = _totals(reference.sums(*maps, *ctx.options), ctx.per_image) / divisors
            to_weights = (scale * terms).sum(1)
        return to_pred, None, None, None, to_weights, *(None,) * 10


def _totals(sums: Tensor, per_image: bool) -> Tensor:
    """Of sums (3,B): themselves per image, else those of the batch, (3,1)."""
    return sums if per_image else sums.sum(1, keepdim=True)


class _AttentionDepthBackward(Function):
    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.depthattn.attention_depth_backward(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:6])
        ctx.options = inputs[6:11]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        scales, pred, target, mask, labels, norm = ctx.saved_tensors

        def sums(pred: Tensor) -> tuple[Tensor]:
            return (reference.sums(pred, target, mask, labels, norm, *ctx.options),)

        (to_scales,), (to_pred,) = vjp_of_vjp(sums, (pred,), (scales,), (grad,))
        return to_scales, to_pred, *(None,) * 10
