"""The semantic focal loss as an operator on logits (B,K,N) and labels (B,N)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from depthattn.ops.loss import LossOperation
from depthattn.ops.masking import compute_dtype
from depthattn.ops.semantic_focal import reference

TENSORS = "Tensor logits, Tensor target, Tensor? weight"


class SemanticFocalOptions(NamedTuple):
    gamma: float
    ignore_index: int
    normalize_by: str
    reduction: str

    @property
    def means(self) -> tuple[bool, ...]:
        return (self.reduction != "sum",)

    @property
    def per_image(self) -> bool:
        return self.reduction == "per_image"


def dtype_of(logits: Tensor, target: Tensor, weight: Tensor | None) -> torch.dtype:
    return compute_dtype(logits)


SEMANTIC_FOCAL = LossOperation(
    name="semantic_focal",
    tensors=TENSORS,
    options=SemanticFocalOptions,
    differentiable=(0,),
    state=reference.state,
    terms=reference.terms,
    weights=lambda tensors, options: (1.0,),
    dtype=dtype_of,
    fake_state=lambda logits, *_: logits.new_empty(0),
)
