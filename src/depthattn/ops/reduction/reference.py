"""The reduction in tensor code, differentiable by sums and weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Weight = float | Tensor


def reduced(
    sums: Tensor, counts: Tensor, weights: Sequence[Weight], options: Any, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss, () or (B,); the terms (T,) or (T,B); what divides them, (T,1) or (T,B); and the scales (T,B)."""
    divisors = _divisors_of(counts, options)
    terms = totals_of(sums, options) / divisors.to(sums.dtype)
    loss = _weighted(weights, terms).to(dtype)
    if not options.per_image:
        loss, terms = loss[0], terms[:, 0]
    divisors = divisors.to(dtype)
    return loss, terms.to(dtype), divisors, scales_of(weights, divisors, counts.shape[1]).contiguous()


def scales_for(counts: Tensor, weights: Sequence[Weight], options: Any, dtype: torch.dtype) -> Tensor:
    """The scales where only the counts are known."""
    return scales_of(weights, _divisors_of(counts, options).to(dtype), counts.shape[1])


def scales_of(weights: Sequence[Weight], divisors: Tensor, batch: int) -> Tensor:
    """The derivative of the loss of an image by the sums of its terms, (T,B)."""
    rows = [weight / divisor for weight, divisor in zip(weights, divisors.unbind(), strict=True)]
    return torch.stack(rows).expand(len(rows), batch)


def totals_of(values: Tensor, options: Any) -> Tensor:
    """Of values (T,B): themselves where the loss is per image, else those of the batch, (T,1)."""
    return values if options.per_image else values.sum(1, keepdim=True)


def _divisors_of(counts: Tensor, options: Any) -> Tensor:
    """1 for a plain sum, and where nothing was counted: the total is then exactly 0."""
    totals = totals_of(counts, options)
    divisors = totals.masked_fill(totals == 0, 1)
    if all(options.means):
        return divisors
    rows = [row if mean else torch.ones_like(row) for row, mean in zip(divisors.unbind(), options.means, strict=False)]
    return torch.stack(rows)


def _weighted(weights: Sequence[Weight], terms: Tensor) -> Tensor:
    rows = [weight * term for weight, term in zip(weights, terms.unbind(), strict=True)]
    total = rows[0]
    for row in rows[1:]:
        total = total + row
    return total
