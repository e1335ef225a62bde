"""Bringing depth maps to the size that an operation wants."""

from __future__ import annotations

from torch import Tensor

from depthattn.ops.backend import resolve
from depthattn.ops.library import run_forward
from depthattn.ops.masking import compute_dtype
from depthattn.ops.semi_dense_up_skip import SemiDenseUpSkip


def upsampled(pred: Tensor, target: Tensor, mode: str | None) -> Tensor:
    """The prediction (B,h,w) at the size of the target, in the dtype of the arithmetic where it had another size."""
    if mode is None or pred.shape == target.shape:
        return pred
    wide = pred.to(compute_dtype(pred)).unsqueeze(1)
    resized: Tensor = run_forward(SemiDenseUpSkip, *target.shape[1:], mode, resolve(pred.device), wide)
    return resized.squeeze(1)
