"""The formula of the depth side of the attention-driven loss: its three terms, from the formulas of both losses."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.depth_aware import reference as depth_aware
from depthattn.ops.joint_gradient import reference as joint_gradient

# distance, beta, log_offset, detach_weight, ignore_index
Options = tuple[str, float, float, bool, int]


def sums(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, norm: Tensor,
    distance: str, beta: float, log_offset: float, detach_weight: bool, ignore_index: int,
) -> Tensor:  # fmt: skip
    """Sums of every image of the depth-aware loss and of both terms of the joint gradient loss, (3,B)."""
    attention = depth_aware.per_pixel(pred, target, mask, norm, distance, beta, log_offset, detach_weight).sum((1, 2))
    depth = joint_gradient.depth_term(pred, target, mask)[0].sum((1, 2))
    if labels is None:
        return torch.stack((attention, depth, torch.zeros_like(depth)))
    semantic = joint_gradient.semantic_term(pred, labels, ignore_index)[0].sum((1, 2))
    return torch.stack((attention, depth, semantic.to(depth)))
