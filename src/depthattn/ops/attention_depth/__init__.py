"""The depth side of the attention-driven loss as one operator: both depth losses from one look at the maps.

docs/derivations/attention_driven.md says why one pass and one gradient suffice.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from depthattn.ops.attention_depth import reference
from depthattn.ops.loss import LossOperation
from depthattn.ops.masking import compute_dtype


class AttentionDepthOptions(NamedTuple):
    distance: str
    beta: float
    max_depth: float | None
    log_offset: float
    detach_weight: bool
    ignore_index: int
    depth_aware_reduction: str
    joint_gradient_reduction: str

    @property
    def means(self) -> tuple[bool, ...]:
        gradients = self.joint_gradient_reduction != "sum"
        return (self.depth_aware_reduction != "sum", gradients, gradients)

    @property
    def per_image(self) -> bool:
        return self.depth_aware_reduction == "per_image"


def _dtype(pred: Tensor, target: Tensor, *_: Any) -> Any:
    return compute_dtype(pred, target)


# Its terms are the depth-aware loss and those of the joint gradient loss, of which the semantic one needs ``labels``;
# ``weights`` has an entry for each. Its state is that of the depth-aware loss.
ATTENTION_DEPTH = LossOperation(
    name="attention_depth",
    tensors="Tensor pred, Tensor target, Tensor? mask, Tensor? labels, Tensor weights",
    options=AttentionDepthOptions,
    differentiable=(0,),
    state=reference.state,
    terms=reference.terms,
    weights=lambda tensors, options: tensors[4].unbind(),
    dtype=_dtype,
    fake_state=lambda pred, target, *_: pred.new_empty(2, pred.shape[0], dtype=compute_dtype(pred, target)),
    weight_tensor=4,
)
