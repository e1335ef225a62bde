"""How features of any memory format are cut into tiles that follow their layout."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from depthattn.ops.tiling import span_length, tile_elements


def memory_order(tensors: list[Tensor]) -> list[int] | None:
    """The axes from the slowest to the fastest, where all ``tensors`` share one dense layout; else None."""
    first = tensors[0]
    axes = sorted(range(first.ndim), key=first.stride, reverse=True)
    return axes if all(x.permute(axes).is_contiguous() for x in tensors) else None


def as_blocks(per_channel: bool, *groups: list[Tensor]) -> list[list[Tensor]]:
    """View tensors (B,C,...) of one shape so that axis 1 has one weight per index.

    Tensors of one dense layout become (outer,channels,inner) in the order of memory, or (1,1,numel) where all
    channels share a weight. Others keep their axes: they are only walked with their strides, never copied.
    """
    axes = memory_order([x for group in groups for x in group])
    if axes is None:
        return [[x.unsqueeze(2) if x.ndim == 2 else x for x in group] for group in groups]
    if not per_channel:
        return [[x.permute(axes).view(1, 1, -1) for x in group] for group in groups]
    sizes = groups[0][0].permute(axes).shape
    channel = axes.index(1)
    outer, inner = sizes[:channel].numel(), sizes[channel + 1 :].numel()
    return [[x.permute(axes).view(outer, sizes[channel], inner) for x in group] for group in groups]


def tile_shape(block: Tensor, buffers: int) -> tuple[int, int, int]:
    """Lengths of a tile along the first three axes of ``block``, at least one step of each.

    ``buffers`` tiles stay in cache and are small beside the block.
    """
    outer, channels, inner = block.shape[:3]
    step = block.shape[3:].numel()
    elements = tile_elements(block, buffers)
    inner_span = span_length(inner, step, elements)
    channel_span = span_length(channels, inner_span * step, elements)
    return span_length(outer, channel_span * inner_span * step, elements), channel_span, inner_span


def cut(group: list[Tensor], shape: tuple[int, int, int]) -> list[list[tuple[Tensor, ...]]]:
    """Tiles of all tensors of ``group`` side by side, listed by span of axis 1; the first of a span is the largest."""
    outer, channels, inner = shape
    return [
        [tile for rows in _side_by_side(span, outer, 0) for tile in _side_by_side(rows, inner, 2)]
        for span in _side_by_side(group, channels, 1)
    ]


def _side_by_side(tensors: Sequence[Tensor], length: int, axis: int) -> list[tuple[Tensor, ...]]:
    if tensors[0].shape[axis] <= length:
        return [tuple(tensors)]
    return list(zip(*(torch.split(x, length, axis) for x in tensors), strict=True))
