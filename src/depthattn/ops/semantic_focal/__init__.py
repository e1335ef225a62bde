"""The semantic focal loss as an operator, and the look at its labels as another: logits (B,K,N), target (B,N)."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.library import define
from depthattn.ops.semantic_focal import reference
from depthattn.ops.semantic_focal.operation import check_labels, focal_operation


def _checked_labels(target: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    check_labels(target, num_classes, ignore_index)
    return target.clone()


define(
    "checked_labels(Tensor target, SymInt num_classes, int ignore_index) -> Tensor",
    _checked_labels,
    lambda target, num_classes, ignore_index: torch.empty_like(target),
)

SEMANTIC_FOCAL = focal_operation("semantic_focal", reference.per_pixel)
