"""The formula of the joint gradient loss: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from depthattn.ops.masking import compute_dtype, valid_depth


def sobel_l1(x: Tensor, windows: Tensor) -> Tensor:
    """|Sh x| + |Sv x| of every 3x3 window that counts, 0 of the others: (B,H,W) -> (B,H-2,W-2)."""
    rows = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    columns = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    horizontal = rows[..., 2:] - rows[..., :-2]
    vertical = columns[:, 2:] - columns[:, :-2]
    # Masked before the absolute value, so that a NaN outside the windows has no way back into the gradient.
    return torch.where(windows, horizontal, 0).abs() + torch.where(windows, vertical, 0).abs()


def full_windows(valid: Tensor) -> Tensor:
    """True where all nine pixels of the window are: (B,H,W) -> (B,H-2,W-2)."""
    rows = valid[:, :-2] & valid[:, 1:-1] & valid[:, 2:]
    return rows[..., :-2] & rows[..., 1:-1] & rows[..., 2:]


def class_windows(labels: Tensor, ignore_index: int) -> Tensor:
    """True where all nine labels are one class: (B,H,W) -> (B,H-2,W-2)."""
    rows = (labels[:, :-2] == labels[:, 1:-1]) & (labels[:, 1:-1] == labels[:, 2:])
    centre = labels[:, 1:-1]
    same = rows[..., :-2] & rows[..., 1:-1] & rows[..., 2:]
    same = same & (centre[..., :-2] == centre[..., 1:-1]) & (centre[..., 1:-1] == centre[..., 2:])
    # Widened, as uint8 wraps the usual -100 round to 156.
    return same & (centre[..., 1:-1].long() != ignore_index)


def covered(windows: Tensor) -> Tensor:
    """True at the pixels that some window uses: (B,H-2,W-2) -> (B,H,W)."""
    rows = pad(windows, (0, 0, 2, 0)) | pad(windows, (0, 0, 1, 1)) | pad(windows, (0, 0, 0, 2))
    return pad(rows, (2, 0)) | pad(rows, (1, 1)) | pad(rows, (0, 2))


def depth_term(pred: Tensor, target: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Values and windows of L_g(d, g), both (B,H-2,W-2): Sobel of the error, as Sobel is linear."""
    dtype = compute_dtype(pred, target)
    windows = full_windows(valid_depth(target, mask))
    error = torch.where(covered(windows), pred.to(dtype) - target.to(dtype), 0)
    return sobel_l1(error, windows), windows


def semantic_term(pred: Tensor, semantics: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Values and windows of L_g(d, s): a float map is taken literally, labels count inside one class only."""
    if semantics.is_floating_point():
        dtype = compute_dtype(pred, semantics)
        windows = full_windows(semantics.isfinite())
        difference = pred.to(dtype) - semantics.to(dtype)
    else:
        windows = class_windows(semantics, ignore_index)
        difference = pred.to(compute_dtype(pred))
    return sobel_l1(torch.where(covered(windows), difference, 0), windows), windows


def per_pixel(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None,
    semantics: Tensor | None,
    semantic_weight: float,
    ignore_index: int,
) -> Tensor:
    """depth + semantic_weight * semantic, each window's value at its centre, 0 on the border: (B,H,W)."""
    values, _ = depth_term(pred, target, mask)
    if semantics is not None:
        values = values + semantic_weight * semantic_term(pred, semantics, ignore_index)[0]
    return pad(values, (1, 1, 1, 1))
