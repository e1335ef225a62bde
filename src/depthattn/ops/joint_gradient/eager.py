"""The joint gradient loss as plain tensor code."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.joint_gradient import reference, sums_dtype


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    dtype = sums_dtype(pred, target, semantics)
    values, windows = reference.depth_term(pred, target, mask)
    depth, depth_windows = values.sum((1, 2)).to(dtype), windows.sum((1, 2))
    if semantics is None:
        return depth, depth_windows, torch.zeros_like(depth), torch.zeros_like(depth_windows)
    values, windows = reference.semantic_term(pred, semantics, ignore_index)
    return depth, depth_windows, values.sum((1, 2)).to(dtype), windows.sum((1, 2))


def backward(
    depth_scale: Tensor, semantic_scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None,
    semantics: Tensor | None, ignore_index: int, differentiate_semantics: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    dtype = sums_dtype(pred, target, semantics)

    def loss(pred: Tensor, semantics: Tensor | None) -> Tensor:
        values = reference.depth_term(pred, target, mask)[0].sum((1, 2)).to(dtype) * depth_scale
        if semantics is not None:
            term = reference.semantic_term(pred, semantics, ignore_index)[0].sum((1, 2)).to(dtype)
            values = values + term * semantic_scale
        return values.sum()

    if differentiate_semantics:
        to_pred, to_semantics = torch.func.grad(loss, argnums=(0, 1))(pred, semantics)
        return to_pred.contiguous(), to_semantics.contiguous()
    return torch.func.grad(loss)(pred, semantics).contiguous(), pred.new_empty(0)
