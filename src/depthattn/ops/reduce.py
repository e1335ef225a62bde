"""From per-image sums and counts to a loss: the same few lines for every loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

REDUCTIONS = ("mean", "per_image", "sum", "none")


def divide(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``, and 0 with zero gradient where nothing was counted."""
    return total / count.masked_fill(count == 0, 1).to(total.dtype)


def denominators(counts: Tensor, means: Sequence[bool], per_image: bool) -> Tensor:
    """What the sums of several terms are divided by, from ``counts`` (T,B): (T,B) per image, else (T,1).

    At least 1, and 1 for a plain sum.
    """
    totals = (counts if per_image else counts.sum(1, keepdim=True)).clamp(min=1)
    parts = [total if mean else torch.ones_like(total) for total, mean in zip(totals.unbind(), means, strict=True)]
    return torch.stack(parts)


def reduce_sums(sums: Tensor, counts: Tensor, reduction: str) -> Tensor:
    """Reduce per-image ``sums`` and ``counts``, both (B,), by ``"mean"``, ``"per_image"`` or ``"sum"``."""
    if reduction == "sum":
        return sums.sum()
    if reduction == "per_image":
        return divide(sums, counts)
    return divide(sums.sum(), counts.sum())
