"""Cutting maps into tiles whose temporaries stay in cache, and the scratch memory that those temporaries share."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

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


def tile_elements(like: Tensor, buffers: int, dtype: torch.dtype | None = None) -> int:
    """How many elements a tile may have so that ``buffers`` of them, in ``dtype``, stay small beside ``like``.

    They stay in cache, too; without ``dtype`` they are of that of ``like``.
    """
    bytes_each = like.element_size() if dtype is None else dtype.itemsize
    share = like.numel() * like.element_size() // (SCRATCH_PART * max(buffers, 1) * bytes_each)
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
