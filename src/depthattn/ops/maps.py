"""Bringing depth maps to the size that an operation wants."""

from __future__ import annotations

from torch import Tensor

from depthattn.ops.backend import resolve_layer
from depthattn.ops.masking import compute_dtype
from depthattn.ops.semi_dense_up_skip import merged


def upsampled(pred: Tensor, target: Tensor, mode: str | None, align_corners: bool) -> Tensor:
    """The prediction (B,h,w) at the size of the target, in the dtype of the arithmetic where it had another size."""
    if mode is None or pred.shape == target.shape:
        return pred
    wide = pred.to(compute_dtype(pred)).unsqueeze(1)
    size, backend = (target.shape[1], target.shape[2]), resolve_layer(pred.device)
    return merged([wide], size, mode, align_corners, backend).squeeze(1)
