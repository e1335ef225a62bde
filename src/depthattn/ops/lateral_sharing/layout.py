"""How features of any memory format are cut into tiles that follow their layout."""

from __future__ import annotations

from collections.abc import Iterator

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


def block_slices(block: Tensor, buffers: int) -> Iterator[tuple[slice, list[tuple[slice, slice, slice]]]]:
    """Spans of axis 1, each with tiles over the first three axes; the first tile of a span is the largest.

    A tile has at most as many elements as ``buffers`` of them leave in cache, but at least one step of each axis.
    """
    outer, channels, inner = block.shape[:3]
    step = block.shape[3:].numel()
    if block.numel() == 0:
        return
    elements = tile_elements(block, buffers)
    inner_span = span_length(inner, step, elements)
    channel_span = span_length(channels, inner_span * step, elements)
    outer_span = span_length(outer, channel_span * inner_span * step, elements)
    for span in _spans(channels, channel_span):
        yield span, [(o, span, i) for o in _spans(outer, outer_span) for i in _spans(inner, inner_span)]


def _spans(length: int, span: int) -> list[slice]:
    return [slice(start, min(start + span, length)) for start in range(0, length, span)]
