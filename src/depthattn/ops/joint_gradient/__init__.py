"""The joint gradient loss as an operator: sums and windows of both terms, with first and second derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import load
from depthattn.ops.joint_gradient import reference
from depthattn.ops.library import define, run_backward, vjp_of_vjp
from depthattn.ops.masking import compute_dtype


def sums_dtype(pred: Tensor, target: Tensor, semantics: Tensor | None) -> torch.dtype:
    if semantics is not None and semantics.is_floating_point():
        return compute_dtype(pred, target, semantics)
    return compute_dtype(pred, target)


def _forward(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None,
    semantics: Tensor | None,
    ignore_index: int,
    keep_slopes: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    implementation = load("joint_gradient", backend)
    result: tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
    if keep_slopes:
        result = implementation.forward_with_slopes(pred, target, mask, semantics, ignore_index)
    else:
        result = *implementation.forward(pred, target, mask, semantics, ignore_index), pred.new_empty(0)
    return result


def _forward_fake(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None,
    semantics: Tensor | None,
    ignore_index: int,
    keep_slopes: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch = pred.shape[0]
    dtype = sums_dtype(pred, target, semantics)
    return (
        pred.new_empty(batch, dtype=dtype),
        pred.new_empty(batch, dtype=torch.int64),
        pred.new_empty(batch, dtype=dtype),
        pred.new_empty(batch, dtype=torch.int64),
        pred.new_empty(pred.shape if keep_slopes else 0),
    )


def _unpack(
    slopes: Tensor, depth_scale: Tensor, semantic_scale: Tensor, semantics: Tensor | None,
    differentiate_semantics: bool, backend: str,
) -> Tensor:  # fmt: skip
    implementation = load("joint_gradient", backend)
    result: Tensor = implementation.unpack(slopes, depth_scale, semantic_scale, semantics, differentiate_semantics)
    return result


def _unpack_fake(
    slopes: Tensor, depth_scale: Tensor, semantic_scale: Tensor, semantics: Tensor | None,
    differentiate_semantics: bool, backend: str,
) -> Tensor:  # fmt: skip
    if semantics is not None and differentiate_semantics:
        return semantics.new_empty(semantics.shape)
    return slopes.new_empty(0)


def _backward(
    depth_scale: Tensor, semantic_scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None,
    semantics: Tensor | None, ignore_index: int, differentiate_semantics: bool, backend: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    implementation = load("joint_gradient", backend)
    result: tuple[Tensor, Tensor] = implementation.backward(
        depth_scale, semantic_scale, pred, target, mask, semantics, ignore_index, differentiate_semantics
    )
    return result


def _backward_fake(
    depth_scale: Tensor, semantic_scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None,
    semantics: Tensor | None, ignore_index: int, differentiate_semantics: bool, backend: str,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    if semantics is not None and differentiate_semantics:
        return pred.new_empty(pred.shape), semantics.new_empty(semantics.shape)
    return pred.new_empty(pred.shape), pred.new_empty(0)


define(
    "joint_gradient(Tensor pred, Tensor target, Tensor? mask, Tensor? semantics, int ignore_index, "
    "bool keep_slopes, str backend) -> (Tensor, Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _forward_fake,
)
define(
    "joint_gradient_unpack(Tensor(a!) slopes, Tensor depth_scale, Tensor semantic_scale, Tensor? semantics, "
    "bool differentiate_semantics, str backend) -> Tensor",
    _unpack,
    _unpack_fake,
)
define(
    "joint_gradient_backward(Tensor depth_scale, Tensor semantic_scale, Tensor pred, Tensor target, "
    "Tensor? mask, Tensor? semantics, int ignore_index, bool differentiate_semantics, str backend) "
    "-> (Tensor, Tensor)",
    _backward,
    _backward_fake,
)


class JointGradient(Function):
    """apply(pred, target, mask, semantics, ignore_index, keep_slopes, backend)

    Maps are (B,H,W) with H, W >= 3. Returns depth sums, depth windows, semantic sums and semantic windows, each (B,),
    and with ``keep_slopes`` a map that the first backward pass turns into the gradient of ``pred``, else an empty one.
    """

    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.depthattn.joint_gradient(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:4])
        ignore_index, keep_slopes, backend = inputs[4:]
        ctx.options = ignore_index, backend
        _, depth_windows, _, semantic_windows, slopes = output
        ctx.slopes = slopes if keep_slopes else None
        ctx.mark_non_differentiable(depth_windows, semantic_windows, slopes)
        # Or autograd would make a map of zeros for the slopes.
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, depth_scale: Tensor | None, _: None, semantic_scale: Tensor | None, *__: None
    ) -> tuple[Tensor | None, ...]:
        if depth_scale is None or semantic_scale is None:
            given = depth_scale if semantic_scale is None else semantic_scale
            if given is None:
                return (None,) * 7
            depth_scale = torch.zeros_like(given) if depth_scale is None else depth_scale
            semantic_scale = torch.zeros_like(given) if semantic_scale is None else semantic_scale
        ignore_index, backend = ctx.options
        differentiate_semantics = ctx.needs_input_grad[3]
        to_pred, ctx.slopes = ctx.slopes, None
        if to_pred is None or torch.is_grad_enabled():
            to_pred, to_semantics = run_backward(
                _JointGradientBackward,
                depth_scale,
                semantic_scale,
                *ctx.saved_tensors,
                ignore_index,
                differentiate_semantics,
                backend,
            )
        else:
            to_semantics = torch.ops.depthattn.joint_gradient_unpack(
                to_pred, depth_scale, semantic_scale, ctx.saved_tensors[3], differentiate_semantics, backend
            )
        return to_pred, None, None, to_semantics if differentiate_semantics else None, None, None, None


class _JointGradientBackward(Function):
    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.depthattn.joint_gradient_backward(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs[:6])
        ctx.ignore_index, ctx.differentiate_semantics = inputs[6:8]

    @staticmethod
    def backward(ctx: Any, grad_pred: Tensor, grad_semantics: Tensor) -> tuple[Tensor | None, ...]:
        depth_scale, semantic_scale, pred, target, mask, semantics = ctx.saved_tensors

        def sums(pred: Tensor, semantics: Tensor | None = semantics) -> tuple[Tensor, Tensor]:
            depth = reference.depth_term(pred, target, mask)[0].sum((1, 2))
            if semantics is None:
                return depth, torch.zeros_like(depth)
            semantic = reference.semantic_term(pred, semantics, ctx.ignore_index)[0].sum((1, 2))
            return depth, semantic

        primals = (pred, semantics) if ctx.differentiate_semantics else (pred,)
        grads = (grad_pred, grad_semantics) if ctx.differentiate_semantics else (grad_pred,)
        to_scales, to_inputs = vjp_of_vjp(sums, primals, (depth_scale, semantic_scale), grads)
        to_semantics = to_inputs[1] if ctx.differentiate_semantics else None
        return *to_scales, to_inputs[0], None, None, to_semantics, None, None, None
