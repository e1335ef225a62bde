"""The joint gradient loss as plain tensor code, in bands of rows that overlap by the reach of a window."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from depthattn.ops.joint_gradient import sums_dtype
from depthattn.ops.joint_gradient.stencil import Stencil, buffer_types, lead
from depthattn.ops.tiling import Workspace, cut

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
    # Every pixel of the map is in use already: it has no memory to lend.
    for images, rows, (spare,) in Workspace(slopes, [depth_scale.dtype], None).tiles():
        tile = slopes[images, rows]
        finish(tile, images, rows, spare.view(tile.shape))
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
    types = buffer_types(dtype) + [dtype] * through
    workspace = Workspace(pred, types, out, halo=4, lead=lead(width))
    sums, counts = ([pred.new_zeros(batch, dtype=kind) for _ in range(2)] for kind in (dtype, torch.int64))
    for images, rows, buffers in workspace.tiles():
        top = rows.start if out is None else max(rows.start - 2, 0)
        bottom = min(rows.stop + 2, height)
        if bottom - top < 3:
            continue
        own = slice(rows.start - top, max(min(rows.stop, height - 2) - top, rows.start - top))
        raw, true, allowed, semantic = cut(images, slice(top, bottom), pred, target, mask, semantics)
        (here,) = cut(images, rows, out)
        tile = buffers[-1][: here.numel()].view(here.shape) if through and here is not None else here
        stencil = Stencil(buffers, raw.shape)
        for term in range(1 if semantics is None else 2):
            if term == 0:
                stencil.depth_term(raw, true, allowed)
            elif semantic.is_floating_point():
                stencil.map_term(raw, semantic)
            else:
                stencil.class_term(raw, semantic, ignore_index)
            counts[term][images] += stencil.windows(own).to(torch.int64)
            sums[term][images] += stencil.values(own, out is not None)
            if tile is not None:
                slopes = stencil.slopes(own.start * width, tile.shape)
                if term == 0:
                    tile.copy_(slopes)
                else:
                    tile.add_(stencil.spare(tile).copy_(slopes), alpha=_PACKING)
        if tile is not None and finish is not None:
            finish(tile, images, rows, stencil.spare(tile))
        if through and here is not None and tile is not None:
            here.copy_(tile)
    return sums[0], counts[0], sums[1], counts[1]
