"""The semantic focal loss as plain tensor code."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.masking import valid_labels
from depthattn.ops.semantic_focal import reference


def forward(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    gamma: float,
    ignore_index: int,
    keep_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    def sums(logits: Tensor) -> Tensor:
        return reference.per_pixel(logits, target, weight, gamma, ignore_index).sum(1)

    totals, vjp = torch.func.vjp(sums, logits)
    gradient = vjp(torch.ones_like(totals))[0].contiguous() if keep_gradient else logits.new_empty(0)
    valid = valid_labels(target, logits.shape[1], ignore_index)
    counts = valid.sum(1)
    if weight is None:
        return totals, counts, counts.to(totals.dtype), gradient
    weights = torch.where(valid, weight.to(totals.dtype)[torch.where(valid, target, 0).long()], 0)
    return totals, counts, weights.sum(1), gradient


def backward(
    scale: Tensor, logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, ignore_index: int
) -> Tensor:
    def values(logits: Tensor) -> Tensor:
        return reference.per_pixel(logits, target, weight, gamma, ignore_index)

    maps, vjp = torch.func.vjp(values, logits)
    gradient: Tensor = vjp(torch.ones_like(maps))[0]
    return gradient.contiguous().mul_(scale.view(-1, 1, 1))
