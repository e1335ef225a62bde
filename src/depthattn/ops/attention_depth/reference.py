"""The formula of the depth side of the attention-driven loss: its terms, from the formulas of both losses."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from depthattn.ops.depth_aware import reference as depth_aware
from depthattn.ops.joint_gradient import reference as joint_gradient


def state(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, weights: Tensor, options: Any
) -> Tensor:
    """That of the depth-aware loss, (2,B)."""
    return depth_aware.state(pred, target, mask, options)


def terms(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, weights: Tensor,
    state: Tensor, options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Sums and counts, (T,B), of the depth-aware loss and of the terms of the joint gradient loss."""
    attention = depth_aware.terms(pred, target, mask, state, options)
    gradients = joint_gradient.terms(pred, target, mask, labels, None, state, options)
    sums, counts = (torch.cat(pair) for pair in zip(attention, gradients, strict=True))
    return sums, counts
