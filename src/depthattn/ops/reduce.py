"""From per-image sums and counts to a loss: the same few lines for every loss."""

from __future__ import annotations

from torch import Tensor

REDUCTIONS = ("mean", "per_image", "sum", "none")


def divide(total: Tensor, count: Tensor) -> Tensor:
    """``total / count``, and 0 with zero gradient where nothing was counted."""
    return total / count.masked_fill(count == 0, 1).to(total.dtype)


def reduce_sums(sums: Tensor, counts: Tensor, reduction: str) -> Tensor:
    """Reduce per-image ``sums`` and ``counts``, both (B,), by ``"mean"``, ``"per_image"`` or ``"sum"``."""
    if reduction == "sum":
        return sums.sum()
    if reduction == "per_image":
        return divide(sums, counts)
    return divide(sums.sum(), counts.sum())
