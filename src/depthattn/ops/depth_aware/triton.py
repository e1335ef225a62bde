"""The depth-aware loss as Triton kernels: one pass over the maps forward, one backward.

Without ``max_depth``, and for the berHu distance, a pass goes ahead for the largest depth and error of each image.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.depth_aware import DepthAwareOptions
from depthattn.ops.masking import compute_dtype
from depthattn.ops.triton_utils import (
    fastest_axis_last,
    fold,
    launch,
    load_map,
    load_target,
    locate,
    log1p,
    scaled,
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
def attention(p, g, over_m, LOG_OFFSET: tl.constexpr):
    """alpha + lambda and d lambda / dp."""
    positive = p > 0
    depth = tl.where(positive, p, 0.0)
    a = _logarithm(depth, LOG_OFFSET)
    b = _logarithm(g, LOG_OFFSET)
    high = tl.maximum(a, b)
    low = tl.minimum(a, b)
    # By the logarithms, as the ratio of a tiny one rounds to the clamp's end.
    above = high > 0
    inside = low > 0
    divisor = tl.where(above, high, 1.0)
    ratio = low / divisor
    lambda_ = tl.where(above, tl.where(inside, 1.0 - ratio, 1.0), 0.0)
    # b / (a^2 (p + o)) above the target and -1 / (b (p + o)) below it.
    numerator = tl.where(p > g, ratio, tl.where(p < g, -1.0, 0.0))
    slopes = inside & positive
    slope = numerator / tl.where(slopes, divisor * (depth + LOG_OFFSET), 1.0)
    return tl.minimum(g * over_m, 1.0) + lambda_, tl.where(slopes, slope, 0.0)


@triton.jit
def distance_of(e, DISTANCE: tl.constexpr, knee):
    """l(e) and dl/de."""
    if DISTANCE == "l2":
        return e * e, 2.0 * e
    size = tl.abs(e)
    if DISTANCE == "l1":
        return size, sign(e)
    if DISTANCE == "berhu":
        # A knee of 0 has no error above 0.
        turn = tl.where(knee > 0, knee, 1.0)
        wrong = size > knee
        steep = e * (1.0 / turn)
        return tl.where(wrong, (steep * e + turn) * 0.5, size), tl.where(wrong, steep, sign(e))
    near = size < knee
    inner = tl.where(near, size, knee)
    return inner * (size - 0.5 * inner) * (1.0 / knee), tl.where(near, e * (1.0 / knee), sign(e))


@triton.jit
def load_state(state, state_stride, image):
    """(1 / m, the error at which the distance turns) of an image."""
    return 1.0 / tl.load(state + image), tl.load(state + state_stride + image)


@triton.jit
def loss_of_pixels(
    pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, inside, over_m, knee,
    DISTANCE: tl.constexpr, LOG_OFFSET: tl.constexpr, DETACH_WEIGHT: tl.constexpr, WIDE: tl.constexpr,
):  # fmt: skip
    """The loss of each pixel and its slope, both 0 where the depth does not count, and where it counts."""
    g, valid = load_target(target, mask, target_strides, mask_strides, image, row, column, inside, WIDE)
    p = load_map(pred, pred_strides, image, row, column, inside).to(WIDE)
    g = tl.where(valid, g, 1.0)
    p = tl.where(valid, p, g)
    weight, weight_slope = attention(p, g, over_m, LOG_OFFSET)
    distance, slope = distance_of(p - g, DISTANCE, knee)
    slope = weight * slope
    if not DETACH_WEIGHT:
        # An infinite distance times a slope of zero must not turn into NaN.
        slope += tl.where(weight_slope != 0, weight_slope * distance, 0.0)
    return tl.where(valid, weight * distance, 0.0), tl.where(valid, slope, 0.0), valid


@triton.jit
def _largest_kernel(
    pred, target, mask, pred_strides, target_strides, mask_strides, depths, errors, rows, columns,
    WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, row, column = _locate(rows, columns, ROWS, COLUMNS)
    inside = (row < rows) & (column < columns)
    g, valid = load_target(target, mask, target_strides, mask_strides, image, row, column, inside, WIDE)
    program = tl.program_id(0).to(tl.int64)
    tl.store(depths + program, tl.max(tl.where(valid, g, 0.0)))
    if errors is not None:
        size = tl.abs(load_map(pred, pred_strides, image, row, column, inside).to(WIDE) - g)
        # A maximum passes a NaN over. As infinity it makes every error count by its size, and shows at its own pixel.
        size = tl.where(size == size, size, float("inf"))
        tl.store(errors + program, tl.max(tl.where(valid, size, 0.0)))


@triton.jit
def _forward_kernel(
    pred, target, mask, pred_strides, target_strides, mask_strides, state, state_stride, sums, counts, rows, columns,
    DISTANCE: tl.constexpr, LOG_OFFSET: tl.constexpr,
    WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, row, column = _locate(rows, columns, ROWS, COLUMNS)
    inside = (row < rows) & (column < columns)
    over_m, knee = load_state(state, state_stride, image)
    value, _slope, valid = loss_of_pixels(
        pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, inside,
        over_m, knee, DISTANCE, LOG_OFFSET, True, WIDE,
    )  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    tl.store(sums + program, tl.sum(value))
    tl.store(counts + program, tl.sum(valid.to(tl.int32)))


@triton.jit
def _backward_kernel(
    scale, scale_stride, pred, target, mask, pred_strides, target_strides, mask_strides, state, state_stride,
    gradient, gradient_strides, rows, columns,
    DISTANCE: tl.constexpr, LOG_OFFSET: tl.constexpr, DETACH_WEIGHT: tl.constexpr,
    WIDE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, row, column = _locate(rows, columns, ROWS, COLUMNS)
    inside = (row < rows) & (column < columns)
    over_m, knee = load_state(state, state_stride, image)
    _value, slope, _valid = loss_of_pixels(
        pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, inside,
        over_m, knee, DISTANCE, LOG_OFFSET, DETACH_WEIGHT, WIDE,
    )  # fmt: skip
    value = scaled(slope, tl.load(scale + image * scale_stride))
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


def options_of(options: Any, wide: torch.dtype) -> dict[str, Any]:
    """What a kernel is compiled for."""
    return {"DISTANCE": options.distance, "LOG_OFFSET": float(options.log_offset), "WIDE": wide_type(wide)}


def keeps_gradient(*_: object) -> bool:
    """Writing the gradient twice would cost more than computing it again."""
    return False


def state_of(pred: Tensor, target: Tensor, mask: Tensor | None, options: Any) -> Tensor:
    """(2,B): what normalises the target of each image, and the error at which the distance turns."""
    batch, wide = len(pred), compute_dtype(pred, target)
    state = pred.new_empty(2, batch, dtype=wide)
    depths, knees = state
    if options.max_depth is None or options.distance == "berhu":
        g, (p, m) = _in_memory_order(target, pred, mask)
        rows, columns = g.shape[1:]
        tile = _tile(columns)
        blocks = triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])
        errors = pred.new_empty(batch, blocks, dtype=wide) if options.distance == "berhu" else None
        partials = [pred.new_empty(batch, blocks, dtype=wide), *([] if errors is None else [errors])]
        launch(
            _largest_kernel, batch * blocks, pred, p, g, m, strides_of(p), strides_of(g), strides_of(m),
            partials[0], errors, rows, columns, WIDE=wide_type(wide), ROWS=tile[0], COLUMNS=tile[1],
        )  # fmt: skip
        fold(partials, [depths, knees][: len(partials)], maximum=True)
    if options.max_depth is not None:
        depths.fill_(options.max_depth)
    knees.div_(5) if options.distance == "berhu" else knees.fill_(options.beta)
    return state


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, options: DepthAwareOptions, scales_for: object
) -> tuple[Tensor, Tensor, Tensor, None]:
    """Sums and valid pixels (1,B) and the state; the gradient is always left to :func:`backward`."""
    batch, wide = pred.shape[0], compute_dtype(pred, target)
    state = state_of(pred, target, mask, options)
    p, (g, m) = _in_memory_order(pred, target, mask)
    rows, columns = p.shape[1:]
    tile = _tile(columns)
    blocks = triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])
    partial_sums = pred.new_empty(batch, blocks, dtype=wide)
    partial_counts = pred.new_empty(batch, blocks, dtype=torch.int32)
    launch(
        _forward_kernel, batch * blocks, pred, p, g, m, strides_of(p), strides_of(g), strides_of(m),
        state, state.stride(0), partial_sums, partial_counts, rows, columns,
        **options_of(options, wide), ROWS=tile[0], COLUMNS=tile[1],
    )  # fmt: skip
    sums, counts = pred.new_empty(1, batch, dtype=torch.float64), pred.new_empty(1, batch, dtype=torch.int64)
    fold([partial_sums, partial_counts], [sums[0], counts[0]])
    return sums, counts, state, None


def backward(
    scales: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, state: Tensor, options: DepthAwareOptions,
    wanted: Sequence[bool],
) -> list[Tensor]:  # fmt: skip
    """The gradient to ``pred``, recomputed from the maps and written once."""
    gradient = pred.new_empty(pred.shape)
    p, (out, g, m) = _in_memory_order(pred, gradient, target, mask)
    rows, columns = p.shape[1:]
    tile = _tile(columns)
    blocks = triton.cdiv(rows, tile[0]) * triton.cdiv(columns, tile[1])
    launch(
        _backward_kernel, pred.shape[0] * blocks, pred, scales, scales.stride(1), p, g, m,
        strides_of(p), strides_of(g), strides_of(m), state, state.stride(0), out, strides_of(out), rows, columns,
        **options_of(options, compute_dtype(pred, target)),
        DETACH_WEIGHT=options.detach_weight, ROWS=tile[0], COLUMNS=tile[1],
    )  # fmt: skip
    return [gradient]
