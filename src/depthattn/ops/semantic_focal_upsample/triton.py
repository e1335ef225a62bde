"""The semantic focal loss on resized logits as Triton kernels: the logits exist at full size in registers only.

Along an axis, the full-size pixels between the centres of two neighbouring logits form a gap: they read those two and
no other. Gap -1 lies before the first centre and the last one behind the last. Where two gaps cross, all pixels
share four logits, which are loaded once. Backward, a program keeps what its gaps give to the logits on either side of
them, so that an exponential is taken again only in the gaps that two programs share; nothing is added to memory twice.
See docs/derivations/semantic_focal.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.semantic_focal.labels import check_labels
from depthattn.ops.semantic_focal.pixels import (
    finite,
    join,
    power,
    read_labels,
    read_weights,
    slope_of_label,
    softmax_of_label,
)
from depthattn.ops.semantic_focal.triton import constants_of, keeps_gradient
from depthattn.ops.semantic_focal_upsample import TERMS, SemanticFocalUpsampleOptions
from depthattn.ops.triton_utils import fold, index_type, launch, strides_of, wide_type

__all__ = ["backward", "forward", "keeps_gradient"]

# Classes that a thread has in its hands at once, and full-size columns of a program: one for each of 128 threads.
_CLASSES = 8
_COLUMNS = 128
# Forward: rows of one gap that share its logits. A gap with more of them is cut into parts.
_ROWS = 4
# Backward: a program walks down so many full-size rows, and those of one more gap.
_WALKED = 32


# An axis is (logits, labels, step, divisor, offset, unit): label i lies (i step + offset) / unit logits behind the
# first one, and divisor is step where that is not 0.
def _axis(source: int, size: int, align_corners: bool) -> tuple[int, ...]:
    if align_corners:
        return source, size, source - 1, max(source - 1, 1), 0, max(size - 1, 1)
    return source, size, 2 * source, 2 * source, source - size, 2 * size


def _longest_gap(axis: tuple[int, ...]) -> int:
    _, size, step, divisor, _, unit = axis
    return int(triton.cdiv(unit, divisor)) if step else size


@triton.jit
def _start(gap, axis):
    """The first pixel of a gap."""
    source, size, _, divisor, offset, unit = axis
    first = (tl.maximum(gap * unit - offset, 0) + divisor - 1) // divisor
    return tl.where(gap >= source, size, tl.minimum(first, size))


@triton.jit
def _gap_of(position, axis):
    _, _, step, _, offset, unit = axis
    numerator = position * step + offset
    return tl.where(numerator < 0, -1, numerator // unit)


@triton.jit
def _share(position, gap, axis, WIDE: tl.constexpr):
    """How much of a pixel is the logit behind its gap; the rest is the one before. At the borders they are one."""
    source, _, step, _, offset, unit = axis
    inner = (position * step + offset - unit * gap).to(WIDE) / unit
    return tl.where(gap < 0, 1.0, tl.where(gap >= source - 1, 0.0, inner))


@triton.jit
def _resized_row(planes, strides, row, before, behind, share, inside, WIDE: tl.constexpr):
    """A row of the logits with its columns at full size."""
    line = planes + row.to(tl.int64) * strides[2]
    a = tl.load(line + before * strides[3], mask=inside, other=0).to(WIDE)
    b = tl.load(line + behind * strides[3], mask=inside, other=0).to(WIDE)
    return (1.0 - share) * a + share * b


@triton.jit
def _forward_kernel(
    logits, logits_strides, target, target_strides, weight, weight_stride, sums, counts,
    terms, terms_strides, classes, rows, columns, parts, ignore_index,
    GAMMA: tl.constexpr, BY_WEIGHT: tl.constexpr, WIDE: tl.constexpr, INDEX: tl.constexpr,
    CLASSES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    source_height, source_width, width = rows[0], columns[0], columns[1]
    across = tl.cdiv(width, COLUMNS)
    blocks = (source_height + 1) * parts * across
    image = program // blocks
    gap = (program % blocks // (parts * across) - 1).to(INDEX)
    part = (program // across % parts).to(INDEX)
    row = _start(gap, rows) + part * ROWS + tl.arange(0, ROWS)
    down = _share(row, gap, rows, WIDE)[None, :, None]
    column = (program % across).to(INDEX) * COLUMNS + tl.arange(0, COLUMNS)
    column_gap = _gap_of(column, columns)
    right = _share(column, column_gap, columns, WIDE)[None, None, :]
    before = tl.maximum(column_gap, 0).to(tl.int64)[None, None, :]
    behind = tl.minimum(column_gap + 1, source_width - 1).to(tl.int64)[None, None, :]
    inside = (row < _start(gap + 1, rows))[:, None] & (column < width)[None, :]
    wide_row, wide_column = row.to(tl.int64)[:, None], column.to(tl.int64)[None, :]
    address = target + image * target_strides[0] + wide_row * target_strides[1] + wide_column * target_strides[2]
    y = read_labels(address, inside, classes, ignore_index)
    high = tl.full([ROWS, COLUMNS], float("-inf"), WIDE)
    others = tl.zeros([ROWS, COLUMNS], WIDE)
    own = tl.zeros([ROWS, COLUMNS], WIDE)
    for first in range(0, classes, CLASSES):
        number = (first + tl.arange(0, CLASSES))[:, None, None]
        planes = logits + image * logits_strides[0] + number.to(tl.int64) * logits_strides[1]
        there = (number < classes) & (column < width)[None, None, :]
        top = _resized_row(planes, logits_strides, tl.maximum(gap, 0), before, behind, right, there, WIDE)
        last = tl.minimum(gap + 1, source_height - 1)
        bottom = _resized_row(planes, logits_strides, last, before, behind, right, there, WIDE)
        z = tl.where(number < classes, (1.0 - down) * top + down * bottom, float("-inf"))
        high, others, own = join(high, others, own, z, number == y[None, :, :])
    p, q, log_p = softmax_of_label(high, others, own)
    w = read_weights(weight, weight_stride, y, WIDE)
    tl.store(sums + program, tl.sum(tl.where(y >= 0, -w * power(q, GAMMA) * log_p, 0.0)))
    tl.store(counts + program, tl.sum(w if BY_WEIGHT else tl.where(y >= 0, 1.0, 0.0)))
    if terms is not None:
        slope = w * slope_of_label(p, q, log_p, GAMMA)
        address = terms + image * terms_strides[1] + wide_row * terms_strides[2] + wide_column
        tl.store(address, finite(high) + tl.log(tl.exp(own - finite(high)) + others), mask=inside)
        tl.store(address + terms_strides[0], slope, mask=inside)
        tl.store(address + terms_strides[0] + terms_strides[0], -slope * q, mask=inside)


@triton.jit
def _backward_kernel(
    scale, scale_stride, logits, logits_strides, target, target_strides, terms, terms_strides, gradient,
    classes, rows, columns, ignore_index,
    WIDE: tl.constexpr, INDEX: tl.constexpr,
    CLASSES: tl.constexpr, DOWN: tl.constexpr, GAPS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    source_height, source_width = rows[0], columns[0]
    chunks = tl.cdiv(classes, CLASSES)
    # Of its gaps a program needs the first one only for the logits behind it.
    across = tl.cdiv(source_width, GAPS - 1)
    number = (program % chunks * CLASSES + tl.arange(0, CLASSES))[:, None]
    tile = program // chunks
    first_column = (tile % across).to(INDEX) * (GAPS - 1)
    strips = tl.cdiv(source_height, DOWN)
    first_row = (tile // across % strips).to(INDEX) * DOWN
    image = tile // (across * strips)

    lane = tl.arange(0, GAPS * LANES)
    column_gap = first_column - 1 + lane // LANES
    column = _start(column_gap, columns) + lane % LANES
    used = column < _start(column_gap + 1, columns)
    right = _share(column, column_gap, columns, WIDE)[None, :]
    before = tl.minimum(tl.maximum(column_gap, 0), source_width - 1).to(tl.int64)[None, :]
    behind = tl.minimum(column_gap + 1, source_width - 1).to(tl.int64)[None, :]
    planes = logits + image * logits_strides[0] + number * logits_strides[1]
    there = (number < classes) & used[None, :]

    start = _start(first_row - 1, rows).to(tl.int64)
    wide_column = column.to(tl.int64)
    labels = target + image * target_strides[0] + start * target_strides[1] + wide_column * target_strides[2]
    maps = terms + image * terms_strides[1] + start * terms_strides[2] + wide_column

    gap_index = tl.arange(0, GAPS)
    left_neighbour = tl.broadcast_to(tl.maximum(gap_index - 1, 0)[None, :], [CLASSES, GAPS])
    written = first_column - 1 + gap_index
    writes = (number < classes) & ((gap_index > 0) & (written < source_width))[None, :]
    out = gradient + ((image * classes + number) * source_height + first_row - 1) * source_width + written[None, :]
    s = tl.load(scale + image * scale_stride)

    top = _resized_row(planes, logits_strides, tl.maximum(first_row - 1, 0), before, behind, right, there, WIDE)
    upper = tl.zeros([CLASSES, GAPS * LANES], WIDE)
    for gap in range(first_row - 1, tl.minimum(first_row + DOWN, source_height)):
        last = tl.minimum(gap + 1, source_height - 1)
        bottom = _resized_row(planes, logits_strides, last, before, behind, right, there, WIDE)
        lower = tl.zeros([CLASSES, GAPS * LANES], WIDE)
        for row in range(_start(gap, rows), _start(gap + 1, rows)):
            y = read_labels(labels, used, classes, ignore_index)[None, :]
            normaliser = tl.load(maps, mask=used, other=0)[None, :]
            slope = tl.load(maps + terms_strides[0], mask=used, other=0)[None, :]
            to_own = tl.load(maps + terms_strides[0] + terms_strides[0], mask=used, other=0)[None, :]
            down = _share(row, gap, rows, WIDE)
            z = (1.0 - down) * top + down * bottom
            value = tl.where(number == y, to_own, slope * tl.exp(z - normaliser))
            value = tl.where(y >= 0, value, 0.0)
            upper += (1.0 - down) * value
            lower += down * value
            labels += target_strides[1]
            maps += terms_strides[2]
        if gap >= first_row:
            to_before = tl.sum(tl.reshape((1.0 - right) * upper, [CLASSES, GAPS, LANES]), 2)
            to_behind = tl.sum(tl.reshape(right * upper, [CLASSES, GAPS, LANES]), 2)
            total = s * (to_before + tl.gather(to_behind, left_neighbour, 1))
            tl.store(out, total.to(gradient.dtype.element_ty), mask=writes)
        out += source_width
        top = bottom
        upper = lower


def _geometry(logits: Tensor, target: Tensor, align_corners: bool) -> tuple[tuple[int, ...], tuple[int, ...], tl.dtype]:
    """The axes of rows and columns, and the type that holds their numbers."""
    rows, columns = (_axis(logits.shape[i + 1], target.shape[i], align_corners) for i in (1, 2))
    return rows, columns, index_type(8 * max(*logits.shape[2:], *target.shape[1:]) ** 2)


def _classes(logits: Tensor) -> int:
    return min(4 * _CLASSES // compute_dtype(logits).itemsize, int(triton.next_power_of_2(logits.shape[1])))


def _crowd(logits: Tensor) -> int:
    """How many times as much a thread has in its hands: classes beside each other in memory are loaded together."""
    return 2 if logits.stride(1) == 1 else 1


def _sums(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: SemanticFocalUpsampleOptions, terms: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Sums and what they are divided by, (1,B); also the terms, where there is a place for them."""
    batch, width = target.shape[0], target.shape[2]
    wide = compute_dtype(logits)
    row_axis, column_axis, index = _geometry(logits, target, options.align_corners)
    longest = _longest_gap(row_axis)
    rows = min(_ROWS, triton.next_power_of_2(longest))
    columns = min(max(_COLUMNS // _crowd(logits), 1), triton.next_power_of_2(width))
    parts = triton.cdiv(longest, rows)
    blocks = (logits.shape[2] + 1) * parts * triton.cdiv(width, columns)
    partials = [logits.new_empty(batch, blocks, dtype=wide) for _ in range(2)]
    launch(
        _forward_kernel, batch * blocks, logits, logits, logits.stride(), target, target.stride(),
        weight, 0 if weight is None else weight.stride(0), *partials, terms, strides_of(terms),
        logits.shape[1], row_axis, column_axis, parts, options.ignore_index,
        CLASSES=_classes(logits), ROWS=rows, COLUMNS=columns, INDEX=index, **constants_of(options, wide),
    )  # fmt: skip
    sums, counts = logits.new_empty(2, 1, batch, dtype=torch.float64)
    fold(partials, (sums, counts))
    return sums, counts


def forward(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: SemanticFocalUpsampleOptions,
    scales_for: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, None]:
    """Sums and what they are divided by, (1,B), and as state the terms of :func:`backward` where it will be asked."""
    check_labels(target, logits.shape[1], options.ignore_index)
    terms = None if scales_for is None else _new_terms(logits, target)
    sums, counts = _sums(logits, target, weight, options, terms)
    return sums, counts, logits.new_empty(0) if terms is None else terms, None


def backward(
    scales: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    state: Tensor,
    options: SemanticFocalUpsampleOptions,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """The gradient to ``logits``, written once; without terms they are computed again."""
    terms = state
    if state.ndim == 1:
        terms = _new_terms(logits, target)
        _sums(logits, target, weight, options, terms)
    batch, classes, source_height, source_width = logits.shape
    row_axis, column_axis, index = _geometry(logits, target, options.align_corners)
    gradient = logits.new_empty(logits.shape)
    down = min(max(_WALKED * source_height // target.shape[1], 1), _WALKED)
    lanes = triton.next_power_of_2(_longest_gap(column_axis))
    gaps = min(max(_COLUMNS // lanes, 2), triton.next_power_of_2(source_width + 1))
    # A gap is one piece however wide it is: fewer classes and more threads make room for a wide one.
    columns = max(gaps * lanes, _COLUMNS)
    together = max(_classes(logits) * _COLUMNS // (columns * _crowd(logits)), 1)
    tiles = triton.cdiv(source_width, gaps - 1) * triton.cdiv(source_height, down)
    launch(
        _backward_kernel, batch * tiles * triton.cdiv(classes, together), logits,
        scales, scales.stride(1), logits, logits.stride(), target, target.stride(), terms, terms.stride(), gradient,
        classes, row_axis, column_axis, options.ignore_index, WIDE=wide_type(compute_dtype(logits)), INDEX=index,
        CLASSES=together, DOWN=down, GAPS=gaps, LANES=lanes, num_warps=8 if columns > _COLUMNS else 4,
    )  # fmt: skip
    return [gradient]


def _new_terms(logits: Tensor, target: Tensor) -> Tensor:
    return logits.new_empty(TERMS, *target.shape, dtype=compute_dtype(logits))
