"""The joint gradient loss as an operator on maps (B,H,W)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from depthattn.ops.joint_gradient import reference
from depthattn.ops.loss import LossOperation
from depthattn.ops.masking import compute_dtype


class JointGradientOptions(NamedTuple):
    semantic_weight: float
    ignore_index: int
    reduction: str

    @property
    def means(self) -> tuple[bool, ...]:
        return (self.reduction != "sum",) * 2

    @property
    def per_image(self) -> bool:
        return self.reduction == "per_image"


def _weights(tensors: tuple[Any, ...], options: JointGradientOptions) -> tuple[float, ...]:
    *_, labels, semantics = tensors
    return (1.0,) if labels is None and semantics is None else (1.0, options.semantic_weight)


def dtype_of(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, semantics: Tensor | None
) -> torch.dtype:
    """The dtype of the arithmetic."""
    return compute_dtype(pred, target) if semantics is None else compute_dtype(pred, target, semantics)


# Of ``labels``, integers, and ``semantics``, a float map, at most one is there. The loss has no state.
JOINT_GRADIENT = LossOperation(
    name="joint_gradient",
    tensors="Tensor pred, Tensor target, Tensor? mask, Tensor? labels, Tensor? semantics",
    options=JointGradientOptions,
    differentiable=(0, 4),
    state=lambda pred, *_: pred.new_empty(0),
    terms=reference.terms,
    weights=_weights,
    dtype=dtype_of,
    fake_state=lambda pred, *_: pred.new_empty(0),
)
