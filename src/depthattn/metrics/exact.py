"""Sums of float32 values without any rounding, in integers that add up over batches and processes.

A float32 is an integer of 24 bits times a power of two. Here the integers of each sign and exponent are added by
themselves, as int64. So the order of the values does not matter, nothing is lost beside a large total, and no float64
is needed, which some devices do not have. Only :func:`totals` puts the bins together, on the host.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

# The nine upper bits of a float32, sign and exponent, number its bin. An int64 bin holds 2**39 values.
BINS = 512

_FRACTION_BITS = 23
_EXPONENTS = 256
# Half an integer; so many of them are below 2**31.
_HALF_BITS = 12
_PIECE = 1 << 31 - _HALF_BITS
_ONE = 127
# Of the smallest exponents, 0 (denormals) and 1: they share a unit of 2**-149.
_UNIT_BITS = 149
# Dekker's constant for float32: it cuts a value into two halves of 12 bits.
_SPLITTER = 4097.0
_PARTS_OF_FLOAT64 = 3


def exact_sums(values: Tensor, groups: Tensor | None = None, count: int = 1) -> Tensor:
    """The bins of the sum of all ``values``, or of those of each group.

    Args:
        values: float32; or float64, which is taken apart into float32 values.
        groups: int64 in [0, count), of the same shape: the group of each value. None: all are one group.
        count: number of groups.

    Returns:
        int64 (count, BINS), to be added to others.
    """
    bins = torch.zeros(count * BINS, dtype=torch.int64, device=values.device)
    for part in _float32_parts(values):
        bits = part.contiguous().view(torch.int32).flatten()
        index = (bits >> _FRACTION_BITS) & (BINS - 1)
        if groups is not None:
            index = index + groups.flatten() * BINS
        exponent = (bits >> _FRACTION_BITS) & (_EXPONENTS - 1)
        fraction = bits & ((1 << _FRACTION_BITS) - 1)
        # All but denormals have a leading bit that is not stored.
        integers = fraction | ((exponent > 0).int() << _FRACTION_BITS)
        # In halves and pieces that int32 can hold the sums of: not every device adds up int64 by index.
        for piece, where in zip(torch.split(integers, _PIECE), torch.split(index, _PIECE), strict=True):
            for shift, half in ((_HALF_BITS, piece >> _HALF_BITS), (0, piece & ((1 << _HALF_BITS) - 1))):
                bins += sum_by_index(half, where, len(bins)) << shift
    return bins.view(count, BINS)


def sum_by_index(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Sums of the int32 ``values`` at each of ``count`` indices, which int32 must hold; int64 (count,)."""
    return torch.zeros(count, dtype=torch.int32, device=values.device).index_add_(0, index, values).long()


def exact_square_sums(values: Tensor, groups: Tensor | None = None, count: int = 1) -> Tensor:
    """The bins of the sum of the squares, which for float32 values are not rounded either.

    A variance is a small difference of two such sums: rounded squares would make it noise.
    """
    squares = values * values
    bins = exact_sums(squares, groups, count)
    if values.dtype == torch.float32:
        scaled = values * _SPLITTER
        upper = scaled - (scaled - values)
        lower = values - upper
        rounding = ((upper * upper - squares) + 2 * (upper * lower)) + lower * lower
        bins += exact_sums(rounding, groups, count)
    return bins


def exact_count(counts: Tensor) -> Tensor:
    """The bins of sums of ones, from how many there are: int64 (...) to (..., BINS)."""
    bins = counts.new_zeros((*counts.shape, BINS), dtype=torch.int64)
    bins[..., _ONE] = counts << _FRACTION_BITS
    return bins


def totals(bins: Tensor) -> npt.NDArray[np.float64]:
    """The sums that ``bins`` (..., BINS) stand for, each rounded once; NaN where a value was not finite."""
    table = bins.cpu().numpy()
    sums = [_total(row) for row in table.reshape(-1, BINS)]
    return np.array(sums, dtype=np.float64).reshape(table.shape[:-1])


def means(bins: Tensor, count: Tensor) -> npt.NDArray[np.float64]:
    """:func:`totals` by ``count``; NaN where that is 0."""
    with np.errstate(invalid="ignore"):
        result: npt.NDArray[np.float64] = totals(bins) / count.cpu().numpy()
    return result


def to_float32(values: npt.NDArray[np.float64], device: torch.device) -> Tensor:
    """What was computed on the host, back on the device."""
    return torch.from_numpy(values.astype(np.float32)).to(device)


def _total(row: npt.NDArray[np.int64]) -> float:
    total = 0
    for index in np.flatnonzero(row).tolist():
        negative, exponent = divmod(index, _EXPONENTS)
        if exponent == _EXPONENTS - 1:
            return float("nan")
        part = int(row[index]) << max(exponent - 1, 0)
        total += -part if negative else part
    # Python divides integers of any size with one rounding.
    return total / (1 << _UNIT_BITS)


def _float32_parts(values: Tensor) -> list[Tensor]:
    if values.dtype == torch.float32:
        return [values]
    parts = []
    for _ in range(_PARTS_OF_FLOAT64):
        parts.append(values.float())
        values = values - parts[-1]
    return parts
