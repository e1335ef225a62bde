"""Validity of pixels and the dtype of arithmetic: the same rules for every operation and backend."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from torch import Tensor


def compute_dtype(*tensors: Tensor) -> torch.dtype:
    """float64 if any tensor is float64, else float32: half precision is only ever a storage format."""
    wide = any(t.dtype == torch.float64 for t in tensors)
    return torch.float64 if wide else torch.float32


def promoted(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors in one dtype, the one that torch would add them up in."""
    dtype = functools.reduce(torch.promote_types, (x.dtype for x in tensors))
    return [x.to(dtype) for x in tensors]


def valid_depth(target: Tensor, mask: Tensor | None) -> Tensor:
    """True where the target is finite and positive and the mask, if there is one, allows it."""
    valid = (target > 0) & (target < torch.inf)
    return valid if mask is None else valid & mask


def image_maximum(target: Tensor, mask: Tensor | None) -> Tensor:
    """The largest valid target of each image, shape (B,); 0 for an image without a valid pixel."""
    depths = torch.where(valid_depth(target, mask), target, 0).flatten(1)
    return depths.amax(1) if depths.shape[1] else depths.sum(1)


def absolute(x: Tensor) -> Tensor:
    """|x|, whose slope at NaN is NaN, so that divergence shows in a gradient: that of torch.abs is 0 there."""
    lost = x.isnan()
    # Only at NaN: infinity times 0 would be one more.
    return x.abs() + torch.where(lost, x, 0) * torch.where(lost, x.detach(), 0)


def image_sums(values: Tensor) -> Tensor:
    """The sum of each image (B,...), (B,): row by row first, so that rounding does not grow with the pixels."""
    return values.flatten(2).sum(2).flatten(1).sum(1) if values.ndim > 2 else values.flatten(1).sum(1)


def valid_labels(labels: Tensor, num_classes: int, ignore_index: int) -> Tensor:
    """True where the label names a class: inside [0, num_classes) and not ``ignore_index``."""
    return (labels != ignore_index) & (labels >= 0) & (labels < num_classes)
