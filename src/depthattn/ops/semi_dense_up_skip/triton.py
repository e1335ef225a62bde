"""The semi-dense up-skip as Triton kernels: all levels in one pass, forward and backward.

The backward kernel is the adjoint by gathering: a pixel of a level adds up the pixels of the gradient that it was
spread over, with the weights of the forward pass, so that nothing is ever added to memory twice. Positions are
rational numbers with the denominator 2 H, so the taps are exact where float32 coordinates drift.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.triton_utils import index_type, launch, wide_type

# Forward: one pixel for each of 128 threads, which works out its taps in all levels once and then walks through so
# many channels with them.
_PIXELS = 128
_WALKED = 16
# Backward: pixels of a level times columns of the gradient around each, for several channels, because those share the
# positions and weights. Columns beyond the taps are for another turn of the loop.
_GATHERED = 256
_CHANNELS = 8
_TAPS = 64


@triton.jit
def _taps(position, size, level_size, GRID: tl.constexpr, WIDE: tl.constexpr):
    """The two pixels of a level that a pixel of the output lies between, and the weight of the second."""
    if GRID == "nearest":
        first = (2 * position + 1) * level_size // (2 * size)
        second = first
        weight = tl.zeros(position.shape, WIDE)
    else:
        if GRID == "corners":
            numerator = position * (level_size - 1)
            divisor = tl.maximum(size - 1, 1)
        else:
            numerator = tl.maximum((2 * position + 1) * level_size - size, 0)
            divisor = 2 * size
        first = numerator // divisor
        second = tl.minimum(first + 1, level_size - 1)
        weight = (numerator - first * divisor).to(WIDE) / divisor
    return first, second, weight


@triton.jit
def _first_touched(index, size, level_size, GRID: tl.constexpr):
    """The first pixel of the output that a pixel of a level reaches; there is none before the first."""
    if GRID == "nearest":
        numerator = 2 * size * index - level_size
        first = tl.where(numerator <= 0, 0, (numerator + 2 * level_size - 1) // (2 * level_size))
    elif GRID == "corners":
        first = tl.where(index == 0, 0, (index - 1) * (size - 1) // tl.maximum(level_size - 1, 1) + 1)
    else:
        numerator = 2 * size * index - size - level_size
        first = tl.where(numerator < 0, 0, numerator // (2 * level_size) + 1)
    return first


@triton.jit
def _weight_on(index, position, size, level_size, GRID: tl.constexpr, WIDE: tl.constexpr):
    """How much of a pixel of a level is in a pixel of the output."""
    first, second, weight = _taps(position, size, level_size, GRID, WIDE)
    share = tl.where(first == index, 1.0 - weight, 0.0) + tl.where(second == index, weight, 0.0)
    return tl.where(position < size, share, 0.0)


@triton.jit
def _offsets(strides, row, column):
    return row.to(tl.int64) * strides[2] + column.to(tl.int64) * strides[3]


@triton.jit
def _forward_kernel(
    features, strides, sizes, merged, channels, height, width,
    GRID: tl.constexpr, WIDE: tl.constexpr, INDEX: tl.constexpr,
    WALKED: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    across = tl.cdiv(height * width, PIXELS)
    blocks = tl.cdiv(channels, WALKED) * across
    program = tl.program_id(0).to(tl.int64)
    image = program // blocks
    start = (program % blocks) // across * WALKED
    pixel = (program % across) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < height * width
    row = (pixel // width).to(INDEX)
    column = (pixel % width).to(INDEX)
    taps = ()
    for j in tl.static_range(len(features)):
        if sizes[j] is None:
            taps = taps + ((_offsets(strides[j], row, column),),)
        else:
            y0, y1, down = _taps(row, height, sizes[j][0], GRID, WIDE)
            x0, x1, right = _taps(column, width, sizes[j][1], GRID, WIDE)
            if GRID == "nearest":
                taps = taps + ((_offsets(strides[j], y0, x0),),)
            else:
                corners = (_offsets(strides[j], y0, x0), _offsets(strides[j], y0, x1))
                corners = corners + (_offsets(strides[j], y1, x0), _offsets(strides[j], y1, x1))
                taps = taps + (corners + (down, right),)
    for step in range(0, tl.minimum(WALKED, channels - start)):
        channel = start + step
        total = tl.zeros([PIXELS], WIDE)
        for j in tl.static_range(len(features)):
            plane = features[j] + image * strides[j][0] + channel * strides[j][1]
            a = tl.load(plane + taps[j][0], mask=inside, other=0).to(WIDE)
            if GRID == "nearest" or sizes[j] is None:
                total += a
            else:
                b = tl.load(plane + taps[j][1], mask=inside, other=0).to(WIDE)
                c = tl.load(plane + taps[j][2], mask=inside, other=0).to(WIDE)
                d = tl.load(plane + taps[j][3], mask=inside, other=0).to(WIDE)
                down, right = taps[j][4], taps[j][5]
                upper = (1.0 - right) * a + right * b
                lower = (1.0 - right) * c + right * d
                total += (1.0 - down) * upper + down * lower
        plane = merged + (image * channels + channel) * (height * width)
        tl.store(plane + pixel, total.to(merged.dtype.element_ty), mask=inside)


@triton.jit
def _gather_level(
    program, grad, grad_strides, to_level, size, taps, channels, height, width,
    GRID: tl.constexpr, WIDE: tl.constexpr, INDEX: tl.constexpr,
    CHANNELS: tl.constexpr, GATHERED: tl.constexpr, LOG_LANES: tl.constexpr, LEVEL: tl.constexpr,
):  # fmt: skip
    LANES: tl.constexpr = 1 << (LOG_LANES >> 4 * LEVEL & 15)
    PIXELS: tl.constexpr = GATHERED // LANES
    level_height, level_width = height, width
    if size is not None:
        level_height, level_width = size[0], size[1]
    pixels = level_height * level_width
    across = tl.cdiv(pixels, PIXELS)
    blocks = tl.cdiv(channels, CHANNELS) * across
    image = program // blocks
    channel = (program % blocks) // across * CHANNELS + tl.arange(0, CHANNELS)
    pixel = (program % across) * PIXELS + tl.arange(0, PIXELS)
    inside = (channel < channels)[:, None] & (pixel < pixels)[None, :]
    y = (pixel // level_width).to(INDEX)
    x = (pixel % level_width).to(INDEX)
    planes = grad + image * grad_strides[0] + channel[:, None] * grad_strides[1]
    if size is None:
        value = tl.load(planes + _offsets(grad_strides, y, x)[None, :], mask=inside, other=0)
    else:
        first_row = _first_touched(y, height, level_height, GRID)
        first_column = _first_touched(x, width, level_width, GRID)
        total = tl.zeros([CHANNELS, PIXELS, LANES], WIDE)
        for turn in range(taps[1]):
            column = first_column[:, None] + turn * LANES + tl.arange(0, LANES)[None, :]
            across_weight = _weight_on(x[:, None], column, width, level_width, GRID, WIDE)
            for k in range(taps[0]):
                row = first_row + k
                weight = _weight_on(y, row, height, level_height, GRID, WIDE)[:, None] * across_weight
                address = planes[:, :, None] + _offsets(grad_strides, row[:, None], column)[None, :, :]
                g = tl.load(address, mask=inside[:, :, None] & (weight != 0)[None, :, :], other=0).to(WIDE)
                total += weight[None, :, :] * g
        value = tl.sum(total, 2)
    address = to_level + (image * channels + channel[:, None]) * pixels + pixel[None, :]
    tl.store(address, value.to(to_level.dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    grad, grad_strides, to_levels, sizes, taps, starts, channels, height, width,
    GRID: tl.constexpr, WIDE: tl.constexpr, INDEX: tl.constexpr,
    CHANNELS: tl.constexpr, GATHERED: tl.constexpr, LOG_LANES: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    for j in tl.static_range(len(to_levels)):
        if (program >= starts[j]) & (program < starts[j + 1]):
            _gather_level(
                program - starts[j], grad, grad_strides, to_levels[j], sizes[j], taps[j], channels, height, width,
                GRID, WIDE, INDEX, CHANNELS, GATHERED, LOG_LANES, j,
            )  # fmt: skip


def _resized(sizes: list[tuple[int, int]], height: int, width: int) -> tuple[tuple[int, int] | None, ...]:
    """The sizes of the levels, None for those that have the size of the output: their taps are one whole pixel."""
    return tuple(None if size == (height, width) else size for size in sizes)


def _positions(sizes: list[tuple[int, int]], height: int, width: int) -> tl.dtype:
    """An integer type that holds every position times twice a size."""
    sides = [side for size in sizes for side in size] + [height, width]
    return index_type(8 * max(sides) ** 2)


def _grid(mode: str, align_corners: bool) -> str:
    """Where the pixels of a level lie between those of the output: centre to centre, or corner to corner."""
    return "nearest" if mode == "nearest" else "corners" if align_corners else "centres"


def forward(features: list[Tensor], height: int, width: int, mode: str, align_corners: bool) -> Tensor:
    """The sum of the resized levels, contiguous."""
    batch, channels = features[0].shape[:2]
    sizes = [(x.shape[2], x.shape[3]) for x in features]
    merged = features[0].new_empty(batch, channels, height, width)
    programs = batch * triton.cdiv(channels, _WALKED) * triton.cdiv(height * width, _PIXELS)
    launch(
        _forward_kernel, programs, merged, tuple(features), tuple(x.stride() for x in features),
        _resized(sizes, height, width), merged, channels, height, width, GRID=_grid(mode, align_corners),
        WIDE=wide_type(compute_dtype(merged)), INDEX=_positions(sizes, height, width), WALKED=_WALKED, PIXELS=_PIXELS,
    )  # fmt: skip
    return merged


def _touched(size: int, level_size: int, grid: str) -> int:
    """The most pixels of the output, along one axis, that a pixel of a level reaches."""
    if grid == "nearest":
        reached = -(-size // level_size)
    elif grid == "centres":
        reached = -(-2 * size // level_size)
    else:
        reached = -(-2 * (size - 1) // (level_size - 1)) if level_size > 1 else size
    return max(min(reached, size), 1)


def backward(grad: Tensor, heights: list[int], widths: list[int], mode: str, align_corners: bool) -> list[Tensor]:
    """The gradient of each level, contiguous."""
    batch, channels, height, width = grad.shape
    sizes, grid = list(zip(heights, widths, strict=True)), _grid(mode, align_corners)
    resized = _resized(sizes, height, width)
    to_levels = [grad.new_empty(batch, channels, *size) for size in sizes]
    across = min(_CHANNELS, triton.next_power_of_2(max(channels, 1)))
    taps, starts, log_lanes = [], [0], 0
    for j, (h, w) in enumerate(sizes):
        reached = 1 if resized[j] is None else _touched(width, w, grid)
        lanes = min(_TAPS, triton.next_power_of_2(reached))
        # Powers of two in a row of digits: a tuple of constants is beyond older releases of Triton.
        log_lanes |= (lanes.bit_length() - 1) << 4 * j
        taps.append((_touched(height, h, grid), triton.cdiv(reached, lanes)))
        starts.append(starts[-1] + batch * triton.cdiv(channels, across) * triton.cdiv(h * w, _GATHERED // lanes))
    launch(
        _backward_kernel, starts[-1], grad, grad, grad.stride(), tuple(to_levels), resized, tuple(taps),
        tuple(starts), channels, height, width, GRID=grid, WIDE=wide_type(compute_dtype(grad)),
        INDEX=_positions(sizes, height, width), CHANNELS=across, GATHERED=_GATHERED, LOG_LANES=log_lanes,
    )  # fmt: skip
    return to_levels
