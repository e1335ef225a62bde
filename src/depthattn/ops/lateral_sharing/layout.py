"""How features of any memory format are cut into tiles that follow their layout."""

from __future__ import annotations

from torch import Tensor

from depthattn.ops.tiling import span_length, tile_elements


def as_blocks(per_channel: bool, *groups: list[Tensor]) -> list[list[Tensor]]:
    """View tensors (B,C,...) of one shape so that axis 1 has one weight per index.

    Tensors of one dense layout become (outer,channels,inner) in the order of memory, or (1,1,numel) where all
    channels share a weight. Others keep their axes: they are only walked with their strides, never copied.
    """
    first = groups[0][0]
    axes = sorted(range(first.ndim), key=lambda axis: -first.stride(axis))
    ordered = [[x.permute(axes) for x in group] for group in groups]
    if not all(x.is_contiguous() for group in ordered for x in group):
        return [[x.unsqueeze(2) if x.ndim == 2 else x for x in group] for group in groups]
    if not per_channel:
        return [[x.view(1, 1, -1) for x in group] for group in ordered]
    sizes = ordered[0][0].shape
    channel = axes.index(1)
    outer, inner = sizes[:channel].numel(), sizes[channel + 1 :].numel()
    return [[x.view(outer, sizes[channel], inner) for x in group] for group in ordered]


def tile_shape(block: Tensor, buffers: int) -> tuple[int, int, int]:
    """Lengths of a tile along the first three axes of ``block``, at least one step of each.

    ``buffers`` tiles stay in cache and small beside the block.
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
    spans = zip(*(x.split(channels, 1) for x in group), strict=True)
    return [
        [
            tile
            for rows in zip(*(x.split(outer) for x in span), strict=True)
            for tile in zip(*(x.split(inner, 2) for x in rows), strict=True)
        ]
        for span in spans
    ]
