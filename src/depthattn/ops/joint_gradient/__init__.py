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
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    implementation = load("joint_gradient", backend)
    result: tuple[Tensor, Tensor, Tensor, Tensor] = implementation.forward(pred, target, mask, semantics, ignore_index)
    return result


def _forward_fake(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None,
    semantics: Tensor | None,
    ignore_index: int,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch = pred.shape[0]
    dtype = sums_dtype(pred, target, semantics)
    return (
        pred.new_empty(batch, dtype=dtype),
        pred.new_empty(batch, dtype=torch.int64),
        pred.new_empty(batch, dtype=dtype),
        pred.new_empty(batch, dtype=torch.int64),
    )


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
    "joint_gradient(Tensor pred, Tensor target, Tensor? mask, Tensor? semantics, int ignore_index, str backend) "
    "-> (Tensor, Tensor, Tensor, Tensor)",
    _forward,
    _forward_fake,
)
define(
    "joint_gradient_backward(Tensor depth_scale, Tensor semantic_scale, Tensor pred, Tensor target, "
    "Tensor? mask, Tensor? semantics, int ignore_index, bool differentiate_semantics, str backend) "
    "-> (Tensor, Tensor)",
    _backward,
    _backward_fake,
)


class JointGradient(Function):
    """apply(pred, target, mask, semantics, ignore_index, backend)

    Maps are (B,H,W) with H, W >= 3. Returns depth sums, depth windows, semantic sums and semantic windows, each (B,).
    """

    @staticmethod
    def forward(*arguments: Any) -> Any:
        return torch.ops.depthattn.joint_gradient(*arguments)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[:4])
        ctx.options = inputs[4:]
        ctx.mark_non_differentiable(output[1], output[3])

    @staticmethod
    def backward(ctx: Any, depth_scale: Tensor, _: None, semantic_scale: Tensor, __: None) -> tuple[Tensor | None, ...]:
        ignore_index, backend = ctx.options
        differentiate_semantics = ctx.needs_input_grad[3]
        to_pred, to_semantics = run_backward(
            _JointGradientBackward,
            depth_scale,
            semantic_scale,
            *ctx.saved_tensors,
            ignore_index,
            differentiate_semantics,
            backend,
        )
        return to_pred, None, None, to_semantics if differentiate_semantics else None, None, None


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
