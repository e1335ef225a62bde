"""The depth-aware loss as plain tensor code."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.depth_aware import reference
from depthattn.ops.masking import compute_dtype, image_maximum, valid_depth


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, distance: str, beta: float, max_depth: float | None,
    log_offset: float, detach_weight: bool, keep_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    dtype = compute_dtype(pred, target)
    norm = (
        image_maximum(target, mask).to(dtype)
        if max_depth is None
        else pred.new_full((pred.shape[0],), max_depth, dtype=dtype)
    )

    def sums(pred: Tensor) -> Tensor:
        values = reference.per_pixel(pred, target, mask, norm, distance, beta, log_offset, detach_weight)
        return values.sum((1, 2))

    totals, vjp = torch.func.vjp(sums, pred)
    gradient = vjp(torch.ones_like(totals))[0].contiguous() if keep_gradient else pred.new_empty(0)
    return totals, valid_depth(target, mask).sum((1, 2)), norm, gradient


def backward(
    scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, norm: Tensor, distance: str,
    beta: float, log_offset: float, detach_weight: bool,
) -> Tensor:  # fmt: skip
    def values(pred: Tensor) -> Tensor:
        return reference.per_pixel(pred, target, mask, norm, distance, beta, log_offset, detach_weight)

    maps, vjp = torch.func.vjp(values, pred)
    gradient: Tensor = vjp(torch.ones_like(maps))[0]
    return gradient.contiguous().mul_(scale.view(-1, 1, 1))
