"""Bringing depth maps to the size that an operation wants."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import pad

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


def padded_to_window(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Images smaller than a 3x3 window grown to it by pixels that do not count, so that they have none that does."""
    height, width = pred.shape[1:]
    if height >= 3 and width >= 3:
        return pred, target, mask, semantics
    margin = (0, max(0, 3 - width), 0, max(0, 3 - height))
    if semantics is not None:
        absent = float("nan") if semantics.is_floating_point() else ignore_index
        semantics = pad(semantics, margin, value=absent)
    return pad(pred, margin), pad(target, margin), None if mask is None else pad(mask, margin), semantics
