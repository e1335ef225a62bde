"""The semi-dense up-skip as plain tensor code: sparse matrices along the rows, then along the columns, tile by tile.

See docs/derivations/semi_dense_up_skip.md.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import torch
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.resize import SparseRows, axis, source_span, taps, target_span
from depthattn.ops.tiling import span_length, tile_elements, tiles


class _Merge(NamedTuple):
    """Rows of the result, the rows of each level that they read, and the weights between the two."""

    rows: slice
    sources: list[slice]
    matrix: SparseRows


class _Spread(NamedTuple):
    """Rows of a level, the rows of the incoming gradient that reach them, and the weights between the two."""

    rows: slice
    sources: slice
    matrix: SparseRows
    skipped: int


def forward(features: list[Tensor], height: int, width: int, mode: str) -> Tensor:
    out = features[0].new_empty(*features[0].shape[:2], height, width)
    like = features[0].new_empty(0, dtype=compute_dtype(*features))
    equal = [x for x in features if x.shape[2:] == (height, width)]
    levels = [x for x in features if x.shape[2:] != (height, width)]
    heights = [x.shape[2] for x in levels]
    # Alive at once: all levels with their rows resized, and the result or the last level on its way there.
    scratch = (sum(heights) + height) * width + max((2 * x.shape[2] * x.shape[3] for x in levels), default=0)
    cuts, span, planes = _tiling(out, like, scratch)
    across = [axis(x.shape[3], width, mode, like) for x in levels]
    merges = [_merge(rows, heights, height, mode, like, planes) for rows in _spans(height, span)]
    for images, channels in cuts:
        for rows, sources, matrix in merges:
            target = out[images, channels, rows]
            parts = [x[images, channels, source] for x, source in zip(levels, sources, strict=True)]
            _write_sum(target, parts, [x[images, channels, rows] for x in equal], across, matrix, planes)
    return out


def _write_sum(
    target: Tensor,
    levels: list[Tensor],
    equal: list[Tensor],
    across: list[SparseRows],
    matrix: SparseRows,
    planes: int,
) -> None:
    """Write the sum of a tile's levels, and of those that need no resizing, to its part of the result."""
    width, part = target.shape[3], target.shape[0] * target.shape[1]
    if levels:
        stage = matrix.values.new_empty(matrix.width, width)
        start = 0
        for level, rows in zip(levels, across, strict=True):
            tile = rows @ _as_rows(level, stage.dtype).t().contiguous()
            stage[start : start + tile.shape[1]] = tile.t()
            start += planes * level.shape[2]
        total = (matrix.first(part, planes) @ stage).view(target.shape)
    else:
        total = torch.zeros_like(target, dtype=matrix.values.dtype)
    for tile in equal[1:]:
        total += tile
    if equal:
        torch.add(total, equal[0], out=target)
    else:
        target.copy_(total)


def backward(grad: Tensor, heights: list[int], widths: list[int], mode: str) -> list[Tensor]:
    height, width = grad.shape[2:]
    like = grad.new_empty(0, dtype=compute_dtype(grad))
    grads = [grad.new_empty(*grad.shape[:2], h, w) for h, w in zip(heights, widths, strict=True)]
    levels = [x for x in grads if x.shape[2:] != (height, width)]
    # Alive at once: one level with its columns reduced, the same transposed, and its gradient.
    scratch = max((x.shape[2] * (2 * width + x.shape[3]) for x in levels), default=0)
    cuts, span, planes = _tiling(grad, like, scratch + height * width * (grad.dtype != like.dtype))
    across = [axis(x.shape[3], width, mode, like).transposed() for x in levels]
    spreads = [
        [
            _spread(rows, x.shape[2], height, mode, like, planes)
            for rows in _spans(x.shape[2], max(span * x.shape[2] // height, 1))
        ]
        for x in levels
    ]
    for images, channels in cuts:
        for x, rows_across, blocks in zip(levels, across, spreads, strict=True):
            for rows, sources, matrix, skipped in blocks:
                target = x[images, channels, rows]
                _write_gradient(target, grad[images, channels, sources], rows_across, matrix, skipped, planes)
    for x in grads:
        if x.shape[2:] == (height, width):
            x.copy_(grad)
    return grads


def _write_gradient(
    target: Tensor, grad: Tensor, across: SparseRows, matrix: SparseRows, skipped: int, planes: int
) -> None:
    """Write what a tile of the incoming gradient gives to some rows of a level."""
    part, width = target.shape[0] * target.shape[1], grad.shape[3]
    tile = matrix.first(part, planes) @ _as_rows(grad, across.values.dtype)
    tile = tile.view(part, -1, width)[:, skipped : skipped + target.shape[2]].reshape(-1, width)
    target.view(-1, target.shape[3]).copy_((across @ tile.t().contiguous()).t())


def _tiling(out: Tensor, like: Tensor, scratch: int) -> tuple[list[tuple[slice, slice]], int, int]:
    """Tiles of (B,C), rows of a map per tile, most planes per tile, where a plane needs ``scratch`` elements."""
    batch, channels, height, width = out.shape
    # Two buffers' worth, because the result and what it is made of take turns in the cache.
    elements = 2 * tile_elements(out, 2) * out.element_size() // like.element_size()
    scratch = max(scratch, height * width)
    cuts = list(tiles(batch, channels, scratch, elements))
    planes = max(((i.stop - i.start) * (c.stop - c.start) for i, c in cuts), default=0)
    return cuts, span_length(height, -(-scratch // height), elements), planes


def _spans(length: int, span: int) -> list[slice]:
    return [slice(start, min(start + span, length)) for start in range(0, length, span)]


def _as_rows(tile: Tensor, dtype: torch.dtype) -> Tensor:
    return tile.reshape(-1, tile.shape[3]).to(dtype)


def _merge(rows: slice, heights: list[int], height: int, mode: str, like: Tensor, planes: int) -> _Merge:
    """The matrix reads one level after the other, each with all of its planes."""
    sources = [source_span(rows, h, height) for h in heights]
    lengths = [source.stop - source.start for source in sources]
    starts = itertools.accumulate(lengths, initial=0)
    plane = torch.arange(planes, dtype=torch.int32, device=like.device).view(-1, 1, 1)
    indices, weights = [], []
    for h, source, length, start in zip(heights, sources, lengths, starts, strict=False):
        index, weight = taps(h, height, mode, like, rows)
        indices.append(index + (planes * start - source.start) + plane * length)
        weights.append(weight.expand(planes, -1, -1))
    if not heights:
        return _Merge(rows, sources, SparseRows(plane.flatten(), like, plane.flatten(), 0))
    index, weight = torch.cat(indices, 2).flatten(0, 1), torch.cat(weights, 2).flatten(0, 1)
    return _Merge(rows, sources, SparseRows.from_taps(index, weight, planes * sum(lengths)))


def _spread(rows: slice, source: int, height: int, mode: str, like: Tensor, planes: int) -> _Spread:
    """Taps that leave ``rows`` are gathered in one more row at either end, which the caller skips."""
    span = target_span(rows, source, height)
    before, after = int(rows.start > 0), int(rows.stop < source)
    length = rows.stop - rows.start + before + after
    index, weight = taps(source, height, mode, like, span)
    index = (index - (rows.start - before)).clamp_(0, length - 1)
    matrix = SparseRows.from_taps(index, weight, length).transposed().block_diagonal(planes)
    return _Spread(rows, span, matrix, before)
