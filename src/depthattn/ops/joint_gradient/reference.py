"""The formula of the joint gradient loss: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from depthattn.ops.masking import absolute, compute_dtype, image_sums, valid_depth


def sobel_l1(x: Tensor, windows: Tensor) -> Tensor:
    """|Sh x| + |Sv x| of every 3x3 window that counts, 0 of the others: (B,H,W) -> (B,H-2,W-2)."""
    rows = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    columns = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    horizontal = rows[..., 2:] - rows[..., :-2]
    vertical = columns[:, 2:] - columns[:, :-2]
    # Masked before the absolute value, so that a NaN outside the windows has no way back into the gradient.
    return absolute(torch.where(windows, horizontal, 0)) + absolute(torch.where(windows, vertical, 0))


def full_windows(valid: Tensor) -> Tensor:
    """True where all nine pixels of the window are: (B,H,W) -> (B,H-2,W-2)."""
    rows = valid[:, :-2] & valid[:, 1:-1] & valid[:, 2:]
    return rows[..., :-2] & rows[..., 1:-1] & rows[..., 2:]


def class_windows(labels: Tensor, ignore_index: int) -> Tensor:
    """True where all nine labels are one class: (B,H,W) -> (B,H-2,W-2)."""
    # Compared as int64: uint8 wraps the usual -100 round to 156, and uint16 has no comparison on some devices.
    labels = labels.to(torch.int64)
    rows = (labels[:, :-2] == labels[:, 1:-1]) & (labels[:, 1:-1] == labels[:, 2:])
    centre = labels[:, 1:-1]
    same = rows[..., :-2] & rows[..., 1:-1] & rows[..., 2:]
    same = same & (centre[..., :-2] == centre[..., 1:-1]) & (centre[..., 1:-1] == centre[..., 2:])
    return same & (centre[..., 1:-1] != ignore_index)


def covered(windows: Tensor, shape: torch.Size) -> Tensor:
    """True at the pixels of a map of this shape that some window uses: (B,H-2,W-2) -> (B,H,W)."""
    # By sums: the code that torch.compile makes for CPUs of padded bools does not compile (PyTorch 2.13). Padded on all
    # sides at once: a result without a pixel, as of one axis of no windows, is an error in PyTorch 2.6.
    counts = pad(windows.float(), (2, 2, 2, 2))
    rows = counts[:, :-2] + counts[:, 1:-1] + counts[:, 2:]
    pixels = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]
    # A map smaller than a window has no windows, but they are padded by two all the same.
    return pixels[:, : shape[1], : shape[2]] > 0


def term(difference: Tensor, windows: Tensor) -> Tensor:
    """Values of L_g for the difference of two maps, as Sobel is linear: (B,H,W) -> (B,H-2,W-2)."""
    return sobel_l1(torch.where(covered(windows, difference.shape), difference, 0), windows)


def terms_of(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, semantics: Tensor | None,
    ignore_index: int,
) -> list[tuple[Tensor, Tensor]]:  # fmt: skip
    """Values and windows, both (B,H-2,W-2), of L_g(d, g) and, with labels or semantics, of L_g(d, s)."""
    dtype = compute_dtype(*(x for x in (pred, target, semantics) if x is not None))
    p = pred.to(dtype)
    differences = [(p - target.to(dtype), full_windows(valid_depth(target, mask)))]
    if labels is not None:
        differences.append((p, class_windows(labels, ignore_index)))
    elif semantics is not None:
        differences.append((p - semantics.to(dtype), full_windows(semantics.isfinite())))
    return [(term(difference, windows), windows) for difference, windows in differences]


def terms(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, semantics: Tensor | None,
    state: Tensor, options: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Sums and windows of each image, (T,B), of the depth term and of the semantic term if there is one."""
    each = terms_of(pred, target, mask, labels, semantics, options.ignore_index)
    sums = torch.stack([image_sums(values) for values, _ in each])
    return sums, torch.stack([windows.sum((1, 2)) for _, windows in each])


def values(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, semantics: Tensor | None, options: Any
) -> Tensor:
    """depth + semantic_weight * semantic, each window's value at its centre, 0 on the border: (B,H,W)."""
    (depth, _), *others = terms_of(pred, target, mask, labels, semantics, options.ignore_index)
    for semantic, _ in others:
        depth = depth + options.semantic_weight * semantic
    return pad(depth, (1, 1, 1, 1))[:, : pred.shape[1], : pred.shape[2]]
