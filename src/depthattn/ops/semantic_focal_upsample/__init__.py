"""The semantic focal loss on bilinearly resized logits as an operator: logits (B,K,h,w), labels (B,H,W)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from depthattn.ops.loss import LossOperation
from depthattn.ops.masking import compute_dtype
from depthattn.ops.semantic_focal import TENSORS, SemanticFocalOptions, dtype_of
from depthattn.ops.semantic_focal_upsample import reference


class SemanticFocalUpsampleOptions(NamedTuple):
    gamma: float
    ignore_index: int
    normalize_by: str
    reduction: str
    align_corners: bool

    @property
    def means(self) -> tuple[bool, ...]:
        return (self.reduction != "sum",)

    @property
    def per_image(self) -> bool:
        return self.reduction == "per_image"

    @classmethod
    def of(cls, options: SemanticFocalOptions, align_corners: bool) -> SemanticFocalUpsampleOptions:
        return cls(*options, align_corners)


# Triton's state is what the backward pass reads of each label: the logarithm of the sum of exponentials, the factor of
# the softmax of the other classes, and the gradient of its own class.
TERMS = 3


def _fake_state(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: SemanticFocalUpsampleOptions,
    keep: bool,
    backend: str,
) -> Tensor:
    if keep and backend == "triton":
        return logits.new_empty(TERMS, *target.shape, dtype=compute_dtype(logits))
    return logits.new_empty(0)


SEMANTIC_FOCAL_UPSAMPLE = LossOperation(
    name="semantic_focal_upsample",
    tensors=TENSORS,
    options=SemanticFocalUpsampleOptions,
    differentiable=(0,),
    state=reference.state,
    terms=reference.terms,
    weights=lambda tensors, options: (1.0,),
    dtype=dtype_of,
    fake_state=_fake_state,
)
