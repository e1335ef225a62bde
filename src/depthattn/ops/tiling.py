"""Cutting maps into tiles whose temporaries stay in cache, and the scratch memory that those temporaries share."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

# Below this, starting an operator costs more than its arithmetic.
SMALLEST_TILE = 1 << 14
# Per thread: beyond this a handful of buffers leave the second-level cache.
_CPU_TILE = 1 << 16
# An accelerator wants wide launches; float32 still counts this many pixels exactly.
_DEVICE_TILE = 1 << 22
# All scratch buffers of a call together are at most this part of the tensor that the tiles cover.
SCRATCH_PART = 12
# A cache line.
_ALIGNMENT = 64


def tile_elements(like: Tensor, buffers: int, dtype: torch.dtype | None = None) -> int:
    """How many elements a tile may have so that ``buffers`` of them, in ``dtype``, stay small beside ``like``.

    They stay in cache, too; without ``dtype`` they are of that of ``like``.
    """
    return _tile_of(like, max(buffers, 1) * (like.element_size() if dtype is None else dtype.itemsize))


def _tile_of(like: Tensor, bytes_each: int) -> int:
    share = like.numel() * like.element_size() // (SCRATCH_PART * bytes_each)
    return min(max(share, SMALLEST_TILE), largest_tile(like.device))


def largest_tile(device: torch.device, per_thread: int = _CPU_TILE) -> int:
    """The most elements of a tile on ``device``; ``per_thread`` speaks of the CPU."""
    return per_thread * max(torch.get_num_threads(), 2) if device.type == "cpu" else _DEVICE_TILE


def tiles(batch: int, length: int, width: int, elements: int) -> Iterator[tuple[slice, slice]]:
    """Cover (batch, length) with tiles of at most ``elements`` elements, one step of ``length`` holding ``width``.

    Whole images share a tile while they fit; a larger image is cut into even spans of at least one step. The order
    is by image, then by span.
    """
    if batch == 0 or length == 0 or width == 0:
        return
    image = length * width
    if image <= elements:
        images = elements // image
        for start in range(0, batch, images):
            yield slice(start, min(start + images, batch)), slice(0, length)
        return
    span = span_length(length, width, elements)
    for index in range(batch):
        for start in range(0, length, span):
            yield slice(index, index + 1), slice(start, min(start + span, length))


def span_length(length: int, width: int, elements: int) -> int:
    """The span of an even cut of ``length`` steps into tiles of at most ``elements`` elements."""
    longest = min(max(elements // max(width, 1), 1), length)
    return math.ceil(length / math.ceil(length / longest)) if length else 0


def add_up(parts: Sequence[Tensor], like: Tensor, dtype: torch.dtype) -> Tensor:
    """One number per image of ``like``, (B,), from what each tile of :func:`tiles` gave for its images, (images,)."""
    batch = like.shape[0]
    return torch.cat(list(parts)).to(dtype).view(batch, -1).sum(1) if parts else like.new_zeros(batch, dtype=dtype)


def cut(images: slice, rows: slice, *maps: Tensor | None) -> tuple[Any, ...]:
    """The tile of each map (B,H,W) that there is."""
    return tuple(None if m is None else m[images, rows] for m in maps)


def rows_joined(*maps: Tensor | None) -> tuple[Any, ...]:
    """Maps (B,H,W) as (B,H*W,1) where the layout of every one allows it: then a tile may end within a row."""
    if all(m is None or m.shape[1] == 1 or m.stride(1) == m.shape[2] * m.stride(2) for m in maps):
        return tuple(m if m is None else m.flatten(1).unsqueeze(2) for m in maps)
    return maps


class Scratch:
    """Buffers of ``elements`` elements, allocated once per call and handed out in the shape of each tile."""

    def __init__(self, like: Tensor, buffers: int, elements: int, dtype: torch.dtype) -> None:
        self._buffers = [like.new_empty(elements, dtype=dtype) for _ in range(buffers)]
        self._shape: tuple[int, ...] = ()
        self._views: list[Tensor] = []

    def shaped(self, *shape: int) -> list[Tensor]:
        """All buffers as contiguous tensors of ``shape``, with whatever the last tile left in them."""
        if shape != self._shape:
            numel = math.prod(shape)
            self._shape, self._views = shape, [buffer[:numel].view(shape) for buffer in self._buffers]
        return self._views


class Workspace:
    """Scratch memory for the tiles of maps (B,H,W), in the part of the result that is not written yet.

    Large tiles start fewer operators, but need more scratch memory than a call may take for itself. A contiguous
    result that is written from front to back lends its rest; the last tiles are small, with a little memory of their
    own.

    Args:
        like: a tensor on the device of the maps, of their size.
        dtypes: the dtype of each buffer.
        out: the contiguous map that the tiles write, or None.
        halo: rows that the buffers of a tile hold beyond those it writes.
        lead: elements of every buffer before those of the tile.
    """

    def __init__(
        self, like: Tensor, dtypes: Sequence[torch.dtype], out: Tensor | None, *, halo: int = 0, lead: int = 0
    ) -> None:
        self._like, self._dtypes, self._out = like, dtypes, out
        self._bytes_each = sum(dtype.itemsize for dtype in dtypes)
        self._margin = lead + halo * like.shape[-1]
        self._own: Tensor | None = None

    def tiles(self) -> Iterator[tuple[slice, slice, list[Tensor]]]:
        """Images, rows and flat buffers of every tile, by image, then by row: whole images while they fit."""
        batch, height, width = self._like.shape
        if height * width == 0:
            return
        image = row = 0
        while image < batch:
            written = (image * height + row) * width
            elements = self._elements(batch * height * width - written)
            if row == 0 and height * width <= elements:
                images, rows = slice(image, min(image + elements // (height * width), batch)), slice(0, height)
            else:
                span = span_length(height - row, width, elements)
                images, rows = slice(image, image + 1), slice(row, row + span)
            count = (images.stop - images.start) * (rows.stop - rows.start) * width
            yield images, rows, self._buffers(written + count, count + self._margin)
            image, row = (image, rows.stop) if rows.stop < height else (images.stop, 0)

    def _elements(self, left: int) -> int:
        """How many elements the next tile may have where ``left`` are not written."""
        elements = _tile_of(self._like, self._bytes_each) - self._margin
        if self._out is not None:
            size = self._out.element_size()
            room = left * size - self._bytes_each * self._margin - _ALIGNMENT * (len(self._dtypes) + 1)
            elements = max(elements, min(room // (self._bytes_each + size), largest_tile(self._like.device)))
        return elements

    def _buffers(self, start: int, elements: int) -> list[Tensor]:
        """A buffer of each dtype, in the result from element ``start`` on if it has room enough, else elsewhere."""
        steps = [_aligned(elements * dtype.itemsize) for dtype in self._dtypes]
        memory = self._borrowed(start, sum(steps))
        offsets = itertools.accumulate(steps, initial=0)
        return [
            memory[offset : offset + elements * dtype.itemsize].view(dtype)
            for offset, dtype in zip(offsets, self._dtypes, strict=False)
        ]

    def _borrowed(self, start: int, size: int) -> Tensor:
        if self._out is not None:
            offset = _aligned(start * self._out.element_size())
            if offset + size <= self._out.nbytes:
                return self._out.view(-1).view(torch.uint8)[offset : offset + size]
        if self._own is None or self._own.numel() < size:
            self._own = self._like.new_empty(size, dtype=torch.uint8)
        return self._own


def _aligned(offset: int) -> int:
    return -(-offset // _ALIGNMENT) * _ALIGNMENT
