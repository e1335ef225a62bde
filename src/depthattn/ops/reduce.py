"""From sums and counts of the images to a loss: the same few lines for every loss."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

REDUCTIONS = ("mean", "per_image", "sum", "none")


def totals_of(values: Tensor, options: Any) -> Tensor:
    """Of values (T,B): themselves where the loss is per image, else those of the batch, (T,1)."""
    return values if options.per_image else values.sum(1, keepdim=True)


def divisors_of(counts: Tensor, options: Any, dtype: torch.dtype) -> Tensor:
    """What the totals of the terms are divided by, from ``counts`` (T,B): (T,B) per image, else (T,1).

    1 for a plain sum, and where nothing was counted: the total is then exactly 0.
    """
    totals = totals_of(counts, options)
    divisors = totals.masked_fill(totals == 0, 1).to(dtype)
    if all(options.means):
        return divisors
    rows = [row if mean else torch.ones_like(row) for row, mean in zip(divisors.unbind(), options.means, strict=False)]
    return torch.stack(rows)
