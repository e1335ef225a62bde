"""The depth-aware loss as an operator on maps (B,H,W)."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from depthattn.ops.depth_aware import reference
from depthattn.ops.loss import LossOperation
from depthattn.ops.masking import compute_dtype


class DepthAwareOptions(NamedTuple):
    distance: str
    beta: float
    max_depth: float | None
    log_offset: float
    detach_weight: bool
    reduction: str

    @property
    def means(self) -> tuple[bool, ...]:
        return (self.reduction != "sum",)

    @property
    def per_image(self) -> bool:
        return self.reduction == "per_image"


def _dtype(pred: Tensor, target: Tensor, mask: Tensor | None) -> Any:
    return compute_dtype(pred, target)


# Its state is (2,B): what normalises the target of each image, and the error at which the distance turns.
DEPTH_AWARE = LossOperation(
    name="depth_aware",
    tensors="Tensor pred, Tensor target, Tensor? mask",
    options=DepthAwareOptions,
    differentiable=(0,),
    state=reference.state,
    terms=reference.terms,
    weights=lambda tensors, options: (1.0,),
    dtype=_dtype,
    fake_state=lambda pred, target, mask, options, keep, backend: pred.new_empty(
        2, pred.shape[0], dtype=compute_dtype(pred, target)
    ),
)
