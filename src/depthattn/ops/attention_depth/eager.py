"""The depth side of the attention-driven loss as plain tensor code, both losses in the same bands of rows.

One gradient can only be written once the weight of every slope is known, and a mean's weight is known once its pixels
and windows are counted: a look at target and labels alone goes ahead, with whole numbers of one byte.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.attention_depth.ahead import CountedAhead
from depthattn.ops.attention_depth.reference import Options
from depthattn.ops.depth_aware import eager as depth_aware
from depthattn.ops.joint_gradient.stencil import Stencil, buffer_types, lead
from depthattn.ops.tiling import Workspace, cut


def _counts(
    target: Tensor, mask: Tensor | None, labels: Tensor | None, ignore_index: int, dtype: torch.dtype
) -> Tensor:
    """Valid pixels, windows of valid pixels and windows inside one class, (3,B)."""
    counts = target.new_zeros(3, len(target), dtype=torch.int64)
    height, width = target.shape[1:]
    workspace = Workspace(target, buffer_types(dtype), None, halo=2, lead=lead(width))
    for images, rows, buffers in workspace.tiles():
        bottom = min(rows.stop + 2, height)
        own = slice(0, rows.stop - rows.start)
        true, allowed, semantic = cut(images, slice(rows.start, bottom), target, mask, labels)
        stencil = Stencil(buffers, true.shape)
        valid = stencil.valid_pixels(true, allowed)
        counts[0, images] += valid[:, own].sum((1, 2)).to(torch.int64)
        if bottom - rows.start < 3:
            continue
        stencil.all_of_nine(valid)
        counts[1, images] += stencil.windows(own).to(torch.int64)
        if semantic is not None:
            stencil.inside_one_class(semantic, ignore_index)
            counts[2, images] += stencil.windows(own).to(torch.int64)
    return counts


def _bands(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, norm: Tensor, options: Options,
    scales: Tensor | None, out: Tensor | None,
) -> Tensor:  # fmt: skip
    """Sums of the three terms, (3,B); into ``out`` goes the gradient of the sums times ``scales``, (3,B)."""
    dtype = norm.dtype
    attention, ignore_index = depth_aware.Options(*options[:4]), options[4]
    height, width = pred.shape[1:]
    sums = pred.new_zeros(3, len(pred), dtype=dtype)
    in_place = out is not None and out.dtype == dtype
    types = buffer_types(dtype) + [dtype] * (not in_place)
    workspace = Workspace(pred, types, out, halo=4, lead=lead(width))
    for images, rows, buffers in workspace.tiles():
        here = None if out is None else out[images, rows]
        raw, true, allowed = cut(images, rows, pred, target, mask)
        tile = here if here is not None and in_place else buffers[-1][: raw.numel()].view(raw.shape)
        differentiate = here is not None
        sums[0, images] += depth_aware.tile(
            raw, true, allowed, norm[images], attention, tile, buffers, differentiate=differentiate
        )
        if scales is not None:
            tile.mul_(scales[0, images, None, None])
        top = max(rows.start - 2, 0) if differentiate else rows.start
        bottom = min(rows.stop + 2, height)
        if bottom - top >= 3:
            own = slice(rows.start - top, max(min(rows.stop, height - 2) - top, rows.start - top))
            raw, true, allowed, semantic = cut(images, slice(top, bottom), pred, target, mask, labels)
            stencil = Stencil(buffers, raw.shape)
            for term in range(1, 2 if labels is None else 3):
                if term == 1:
                    stencil.depth_term(raw, true, allowed)
                else:
                    stencil.class_term(raw, semantic, ignore_index)
                sums[term, images] += stencil.values(own, differentiate)
                if scales is not None:
                    slopes = stencil.slopes(own.start * width, tile.shape)
                    tile.add_(stencil.spare(tile).copy_(slopes).mul_(scales[term, images, None, None]))
        if here is not None and not in_place:
            here.copy_(tile)
    return sums


_passes = CountedAhead(depth_aware.normalisers, _counts, _bands)
forward, forward_with_gradient, backward = _passes.forward, _passes.forward_with_gradient, _passes.backward
