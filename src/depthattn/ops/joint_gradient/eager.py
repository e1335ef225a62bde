"""The joint gradient loss as plain tensor code, in bands of rows that overlap by the reach of a window."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from depthattn.ops.joint_gradient import sums_dtype
from depthattn.ops.joint_gradient.stencil import BUFFERS, Stencil
from depthattn.ops.tiling import Scratch, add_up, tile_elements, tiles

# The slope of either term is a whole number in [-16, 16]: both fit one float, as depth + 64 * semantic.
_PACKING = 64.0

_Finish = Callable[[Tensor, slice, slice, Tensor], None]


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _tiled(pred, target, mask, semantics, ignore_index, None, None)


def forward_with_slopes(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As ``forward``, and the slopes of both sums towards ``pred``, packed into one map like it."""
    slopes = pred.new_empty(pred.shape)
    return *_tiled(pred, target, mask, semantics, ignore_index, slopes, None), slopes


def unpack(
    slopes: Tensor, depth_scale: Tensor, semantic_scale: Tensor, semantics: Tensor | None, differentiate_semantics: bool
) -> Tensor:
    """Turn packed slopes into the gradient of ``pred``, in place; returns that of ``semantics``, or an empty tensor."""
    to_semantics, finish = _unpacking(slopes, depth_scale, semantic_scale, semantics, differentiate_semantics)
    batch, height, width = slopes.shape
    elements = tile_elements(slopes, 1, depth_scale.dtype)
    scratch = Scratch(slopes, 1, max(elements, width), depth_scale.dtype)
    for images, rows in tiles(batch, height, width, elements):
        tile = slopes[images, rows]
        finish(tile, images, rows, scratch.shaped(*tile.shape)[0])
    return to_semantics


def backward(
    depth_scale: Tensor, semantic_scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None,
    semantics: Tensor | None, ignore_index: int, differentiate_semantics: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    to_semantics, finish = _unpacking(pred, depth_scale, semantic_scale, semantics, differentiate_semantics)
    gradient = pred.new_empty(pred.shape)
    _tiled(pred, target, mask, semantics, ignore_index, gradient, finish)
    return gradient, to_semantics


def _unpacking(
    pred: Tensor, depth_scale: Tensor, semantic_scale: Tensor, semantics: Tensor | None, differentiate_semantics: bool
) -> tuple[Tensor, _Finish]:
    """Where the gradient of ``semantics`` goes, and what turns a tile of packed slopes into that of ``pred``."""
    depth, semantic = depth_scale.view(-1, 1, 1), semantic_scale.view(-1, 1, 1)
    differentiated = semantics if differentiate_semantics else None
    to_semantics = pred.new_empty(0) if differentiated is None else differentiated.new_empty(differentiated.shape)

    def finish(tile: Tensor, images: slice, rows: slice, spare: Tensor) -> None:
        if semantics is None:
            tile.mul_(depth[images])
            return
        torch.mul(tile, 1 / _PACKING, out=spare).round_()
        tile.sub_(spare, alpha=_PACKING).mul_(depth[images])
        tile.add_(spare.mul_(semantic[images]))
        if differentiated is not None:
            to_semantics[images, rows] = spare.neg_()

    return to_semantics, finish


def _tiled(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int,
    out: Tensor | None, finish: _Finish | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Sums and windows of both terms; into ``out`` go the packed slopes, or what ``finish`` makes of them."""
    dtype = sums_dtype(pred, target, semantics)
    batch, height, width = pred.shape
    # Half precision is rounded once, from scaled slopes in the dtype of the arithmetic.
    through = out is not None and out.dtype in (torch.float16, torch.bfloat16)
    halo = 4 * width
    elements = max(tile_elements(pred, BUFFERS + through, dtype), halo + width)
    stencil = Stencil(pred, width, elements, dtype)
    scratch = Scratch(pred, int(through), elements, dtype)
    parts: list[list[Tensor]] = [[], [], [], []]
    depth_sums, depth_windows, semantic_sums, semantic_windows = parts
    for images, rows in tiles(batch, height, width, elements - halo):
        top = rows.start if out is None else max(rows.start - 2, 0)
        bottom = min(rows.stop + 2, height)
        if bottom - top < 3:
            continue
        own = slice(rows.start - top, max(min(rows.stop, height - 2) - top, rows.start - top))
        raw, here = pred[images, top:bottom], None if out is None else out[images, rows]
        tile = scratch.shaped(*here.shape)[0] if through and here is not None else here
        stencil.resize(raw.shape[0], bottom - top)
        stencil.depth_term(raw, target[images, top:bottom], None if mask is None else mask[images, top:bottom])
        depth_windows.append(stencil.windows(own))
        depth_sums.append(stencil.values(own, out is not None))
        if tile is not None:
            stencil.slopes(own.start * width, tile.view(-1), None)
        if semantics is not None:
            semantic = semantics[images, top:bottom]
            if semantic.is_floating_point():
                stencil.map_term(raw, semantic)
            else:
                stencil.class_term(raw, semantic, ignore_index)
            semantic_windows.append(stencil.windows(own))
            semantic_sums.append(stencil.values(own, out is not None))
            if tile is not None:
                stencil.slopes(own.start * width, tile.view(-1), _PACKING)
        if tile is not None and finish is not None:
            finish(tile, images, rows, stencil.spare(tile))
        if through and here is not None and tile is not None:
            here.copy_(tile)
    kinds = dtype, torch.int64, dtype, torch.int64
    sums = [add_up(part, pred, kind) for part, kind in zip(parts, kinds, strict=True)]
    return sums[0], sums[1], sums[2], sums[3]
