"""The reduction in C++: a handful of numbers, for which thirty small operators would take longer than a small map."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from depthattn.ops.native import View, library, view
from depthattn.ops.reduction.reference import Weight


class _Arguments(ctypes.Structure):
    _fields_ = (
        ("sums", ctypes.c_void_p),
        ("counts", View),
        *((name, ctypes.c_void_p) for name in ("weights", "means")),
        *((name, ctypes.c_int64) for name in ("terms", "batch", "per_image")),
        *((name, ctypes.c_void_p) for name in ("loss", "each", "divisors", "scales")),
    )


def reduced(
    sums: Tensor, counts: Tensor, weights: Sequence[Weight], options: Any, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The loss, () or (B,); the terms (T,) or (T,B); what divides them, (T,1) or (T,B); and the scales (T,B)."""
    terms, batch = sums.shape
    shape = (batch,) if options.per_image else ()
    loss, each = sums.new_empty(shape, dtype=dtype), sums.new_empty((terms, *shape), dtype=dtype)
    divisors = sums.new_empty(terms, batch if options.per_image else 1, dtype=dtype)
    return loss, each, divisors, _run(sums, counts, weights, options, dtype, (loss, each, divisors))


def scales_for(counts: Tensor, weights: Sequence[Weight], options: Any, dtype: torch.dtype) -> Tensor:
    """The scales where only the counts are known."""
    return _run(None, counts, weights, options, dtype, ())


def _run(
    sums: Tensor | None, counts: Tensor, weights: Sequence[Weight], options: Any, dtype: torch.dtype,
    results: tuple[Tensor, ...],
) -> Tensor:  # fmt: skip
    terms, batch = counts.shape
    scales = counts.new_empty(terms, batch, dtype=dtype)
    numbers = (ctypes.c_double * terms)(*map(float, weights))
    means = (ctypes.c_int64 * terms)(*options.means[:terms])
    arguments = _Arguments(
        None if sums is None else sums.data_ptr(), view(counts), ctypes.addressof(numbers), ctypes.addressof(means),
        terms, batch, options.per_image, *(result.data_ptr() for result in results),
    )  # fmt: skip
    arguments.scales = scales.data_ptr()
    library().run("reduction", arguments, wide=dtype == torch.float64)
    return scales
