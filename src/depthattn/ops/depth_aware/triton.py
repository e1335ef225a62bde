"""The depth-aware loss as Triton kernels: one pass over the maps forward, one backward.

Without ``max_depth`` a pass over the target goes ahead, for the largest depth of each image.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.triton_utils import (
    fastest_axis_last,
    fold,
    launch,
    load_map,
    load_target,
    locate,
    log1p,
    sign,
    store_map,
    strides_of,
    wide_type,
)

# Eight pixels for each of 128 threads: two 16-byte loads in flight per float32 map, few registers, and still a
# thousand programs at 4 x 480 x 640.
_PIXELS = 1024


@triton.jit
def _locate(rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The image of this program and the rows and columns of its tile, 64 bits wide."""
    image, first, column = locate(rows, columns, ROWS, COLUMNS)
    return image, (first + tl.arange(0, ROWS))[:, None], column[None, :]


@triton.jit
def _logarithm(x, LOG_OFFSET: tl.constexpr):
    if LOG_OFFSET == 1.0:
        # Where log1p corrects nothing it still divides x by itself, which is NaN at infinity.
        return tl.where(x < 1.0, log1p(x), tl.log(1.0 + x))
    return tl.log(x + LOG_OFFSET)


@triton.jit
def attention(p, g, over_m, LOG_OFFSET: tl.constexpr, LOG_FLOOR: tl.constexpr):
    """alpha + lambda and d lambda / dp."""
    positive = p > 0
    inner = tl.where(positive, p, 1.0)
    a = tl.where(positive, _logarithm(inner, LOG_OFFSET), tl.full(p.shape, LOG_FLOOR, p.dtype))
    b = _logarithm(g, LOG_OFFSET)
    high = tl.maximum(a, b)
    above = high > 0
    ratio = tl.minimum(a, b) / tl.where(above, high, 1.0)
    lambda_ = tl.where(above, tl.where(ratio > 0, 1.0 - ratio, 1.0), 0.0)
    # With both logarithms above 0: b / (a^2 (p + o)) above the target and -1 / (b (p + o)) below it. Not read off
    # lambda, which rounds to 1 well before its slope is 0.
    slopes = positive & (p > 1.0 - LOG_OFFSET) & (b > 0)
    slope = tl.where(p > g, ratio, -1.0) / (tl.where(slopes, high, 1.0) * (inner + LOG_OFFSET))
    return tl.minimum(g * over_m, 1.0) + lambda_, tl.where(slopes, slope, 0.0)


@triton.jit
def distance_of(e, DISTANCE: tl.constexpr, BETA: tl.constexpr):
    """l(e) and dl/de."""
    if DISTANCE == "l2":
        return e * e, 2.0 * e
    size = tl.abs(e)
    if DISTANCE == "l1":
        return size, sign(e)
    near = size < BETA
    inner = tl.where(near, size, tl.full(e.shape, BETA, e.dtype))
    return inner * (size - 0.5 * inner) * (1.0 / BETA), tl.where(near, e * (1.0 / BETA), sign(e))


@triton.jit
def loss_of_pixels(
    pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, inside, over_m,
    DISTANCE: tl.constexpr, BETA: tl.constexpr, LOG_OFFSET: tl.constexpr, LOG_FLOOR: tl.constexpr,
    DETACH_WEIGHT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The loss of each pixel and its slope, both 0 where the depth does not count, and where it counts."""
    g, valid = load_target(target, mask, target_strides, mask_strides, image, row, column, inside, WIDE)
    p = load_map(pred, pred_strides, image, row, column, inside).to(WIDE)
    g = tl.where(valid, g, 1.0)
    p = tl.where(valid, p, g)
    weight, weight_slope = attention(p, g, over_m, LOG_OFFSET, LOG_FLOOR)
    distance, slope = distance_of(p - g, DISTANCE, BETA)
    slope = weight * slope
    if not DETACH_WEIGHT:
        # An infinite distance times a slope of zero must not turn into NaN.
        slope += tl.where(weight_slope != 0, weight_slope * distance, 0.0)
    return tl.where(valid, weight * distance, 0.0), tl.where(valid, slope, 0.0), valid


@triton.jit
def _maximum_kernel(
    target, mask, target_strides, mask_strides, maxima, rows, columns,
    WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, row, column = _locate(rows, columns, ROWS, COLUMNS)
    inside = (row < rows) & (column < columns)
    g, valid = load_target(target, mask, target_strides, mask_strides, image, row, column, inside, WIDE)
    tl.store(maxima + tl.program_id(0).to(tl.int64), tl.max(tl.where(valid, g, 0.0)))


@triton.jit
def _forward_kernel(
    pred, target, mask, pred_strides, target_strides, mask_strides, norm, sums, counts, rows, columns,
    DISTANCE: tl.constexpr, BETA: tl.constexpr, LOG_OFFSET: tl.constexpr, LOG_FLOOR: tl.constexpr,
    WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, row, column = _locate(rows, columns, ROWS, COLUMNS)
    inside = (row < rows) & (column < columns)
    value, _slope, valid = loss_of_pixels(
        pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, inside,
        1.0 / tl.load(norm + image), DISTANCE, BETA, LOG_OFFSET, LOG_FLOOR, True, WIDE,
    )  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    tl.store(sums + program, tl.sum(value))
    tl.store(counts + program, tl.sum(valid.to(tl.int32)))


@triton.jit
def _backward_kernel(
    scale, scale_stride, pred, target, mask, pred_strides, target_strides, mask_strides, norm,
    gradient, gradient_strides, rows, columns,
    DISTANCE: tl.constexpr, BETA: tl.constexpr, LOG_OFFSET: tl.constexpr, LOG_FLOOR: tl.constexpr,
    DETACH_WEIGHT: tl.constexpr, WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, row, column = _locate(rows, columns, ROWS, COLUMNS)
    inside = (row < rows) & (column < columns)
    _value, slope, valid = loss_of_pixels(
        pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, inside,
        1.0 / tl.load(norm + image), DISTANCE, BETA, LOG_OFFSET, LOG_FLOOR, DETACH_WEIGHT, WIDE,
    )  # fmt: skip
    # Also an infinite scale leaves a hole at 0.
    value = tl.where(valid, slope * tl.load(scale + image * scale_stride), 0.0)
    store_map(gradient, gradient_strides, image, row, column, value, inside)


def _in_memory_order(first: Tensor, *others: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
    """The same views of all maps (B,H,W), with the fastest axis last and rows joined where every layout allows it."""
    first, views = fastest_axis_last(first, *others)
    if all(v is None or v.stride(1) == v.shape[2] * v.stride(2) for v in (first, *views)):
        return first.flatten(1).unsqueeze(1), [v if v is None else v.flatten(1).unsqueeze(1) for v in views]
    return first, views


def _tile(columns: int) -> tuple[int, int]:
    width = min(_PIXELS, triton.next_power_of_2(max(columns, 1)))
    return _PIXELS // width, width


def options_of(distance: str, beta: float, log_offset: float, wide: torch.dtype) -> dict[str, Any]:
    return {
        "DISTANCE": distance,
        "BETA": float(beta),
        "LOG_OFFSET": float(log_offset),
        "LOG_FLOOR": math.log(log_offset) if log_offset > 0 else -math.inf,
        "WIDE": wide_type(wide),
    }


def normalisers(pred: Tensor, target: Tensor, mask: Tensor | None, max_depth: float | None) -> Tensor:
    """``max_depth``, or the largest valid target of each image and 0 for one without a valid pixel, (B,)."""
    batch, wide = len(pred), compute_dtype(pred, target)
    if max_depth is not None:
        return pred.new_full((batch,), max_depth, dtype=wide)
    g, (m,) = _in_memory_order(target, mask)
    rows, columns = g.shape[1:]
    tile = _tile(columns)
    blocks = triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])
    norm, maxima = pred.new_empty(batch, dtype=wide), pred.new_empty(batch, blocks, dtype=wide)
    launch(
        _maximum_kernel, batch * blocks, pred, g, m, strides_of(g), strides_of(m), maxima, rows, columns,
        WIDE=wide_type(wide), ROWS=tile[0], COLUMNS=tile[1],
    )  # fmt: skip
    fold([maxima], [norm], maximum=True)
    return norm


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, distance: str, beta: float, max_depth: float | None,
    log_offset: float, detach_weight: bool, keep_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Per-image sums, counts and normalisers; the gradient is always left to :func:`backward`."""
    batch = pred.shape[0]
    wide = compute_dtype(pred, target)
    p, (g, m) = _in_memory_order(pred, target, mask)
    rows, columns = p.shape[1:]
    tile = _tile(columns)
    blocks = triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])
    shape = {"ROWS": tile[0], "COLUMNS": tile[1]}
    norm = normalisers(pred, target, mask, max_depth)
    partial_sums = pred.new_empty(batch, blocks, dtype=wide)
    partial_counts = pred.new_empty(batch, blocks, dtype=torch.int32)
    launch(
        _forward_kernel, batch * blocks, pred, p, g, m, strides_of(p), strides_of(g), strides_of(m), norm,
        partial_sums, partial_counts, rows, columns, **options_of(distance, beta, log_offset, wide), **shape,
    )  # fmt: skip
    sums, counts = pred.new_empty(batch, dtype=wide), pred.new_empty(batch, dtype=torch.int64)
    fold([partial_sums, partial_counts], [sums, counts])
    return sums, counts, norm, pred.new_empty(0)


def backward(
    scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, norm: Tensor, distance: str,
    beta: float, log_offset: float, detach_weight: bool,
) -> Tensor:  # fmt: skip
    """The gradient to ``pred``, recomputed from the maps and written once."""
    gradient = pred.new_empty(pred.shape)
    p, (out, g, m) = _in_memory_order(pred, gradient, target, mask)
    rows, columns = p.shape[1:]
    tile = _tile(columns)
    blocks = triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])
    launch(
        _backward_kernel, pred.shape[0] * blocks, pred, scale, scale.stride(0), p, g, m,
        strides_of(p), strides_of(g), strides_of(m), norm, out, strides_of(out), rows, columns,
        **options_of(distance, beta, log_offset, compute_dtype(pred, target)),
        DETACH_WEIGHT=detach_weight, ROWS=tile[0], COLUMNS=tile[1],
    )  # fmt: skip
    return gradient
