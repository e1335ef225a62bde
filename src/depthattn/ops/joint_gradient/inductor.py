"""The joint gradient loss through torch.compile, in bands of rows that overlap by the reach of a window."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from depthattn.ops.compiled import Compiled
from depthattn.ops.joint_gradient import reference, sums_dtype
from depthattn.ops.masking import valid_depth
from depthattn.ops.tiling import add_up, tile_elements, tiles

# Maps of a band that the compiled code may hold at a time.
_BUFFERS = 6
# The slope of either term is a whole number in [-16, 16]: both fit one float, as depth + 64 * semantic.
_PACKING = 64


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _bands(pred, target, mask, semantics, ignore_index)


def forward_with_slopes(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As ``forward``, and the slopes of both sums towards ``pred``, packed into one map like it."""
    slopes = pred.new_empty(pred.shape)
    return *_bands(pred, target, mask, semantics, ignore_index, slopes), slopes


def unpack(
    slopes: Tensor, depth_scale: Tensor, semantic_scale: Tensor, semantics: Tensor | None, differentiate_semantics: bool
) -> Tensor:
    """Turn packed slopes into the gradient of ``pred``, in place; returns that of ``semantics``, or an empty tensor."""
    to_semantics = _gradient_of(semantics, differentiate_semantics, slopes)
    if slopes.numel():
        _compiled_unpack(
            slopes, depth_scale, None if semantics is None else semantic_scale,
            to_semantics if differentiate_semantics else None,
        )  # fmt: skip
    return to_semantics


def backward(
    depth_scale: Tensor, semantic_scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None,
    semantics: Tensor | None, ignore_index: int, differentiate_semantics: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    to_semantics = _gradient_of(semantics, differentiate_semantics, pred)
    gradient = pred.new_empty(pred.shape)
    _bands(
        pred, target, mask, semantics, ignore_index, gradient, (depth_scale, semantic_scale),
        to_semantics if differentiate_semantics else None,
    )  # fmt: skip
    return gradient, to_semantics


def _gradient_of(semantics: Tensor | None, differentiate: bool, pred: Tensor) -> Tensor:
    return semantics.new_empty(semantics.shape) if semantics is not None and differentiate else pred.new_empty(0)


def _bands(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int,
    out: Tensor | None = None, scales: tuple[Tensor, Tensor] | None = None, to_semantics: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Sums and windows of both terms; into ``out`` go the packed slopes, or with ``scales`` the gradient itself."""
    dtype = sums_dtype(pred, target, semantics)
    batch, height, width = pred.shape
    halo = 4 * width
    elements = max(tile_elements(pred, _BUFFERS, dtype), halo + width)
    parts: list[list[Tensor]] = [[], [], [], []]
    for images, rows in tiles(batch, height, width, elements - halo):
        top = rows.start if out is None else max(rows.start - 2, 0)
        bottom = min(rows.stop + 2, height)
        if bottom - top < 3:
            continue
        depth_scale, semantic_scale = (None, None) if scales is None else (scale[images] for scale in scales)
        maps = (None if x is None else x[images, top:bottom] for x in (pred, target, mask, semantics))
        results = _compiled_band(
            *maps, None if out is None else out[images, rows], depth_scale, semantic_scale,
            None if to_semantics is None else to_semantics[images, rows],
            ignore_index=ignore_index, above=rows.start - top, below=bottom - rows.stop,
        )  # fmt: skip
        for part, result in zip(parts, results, strict=True):
            part.append(result)
    kinds = dtype, torch.int64, dtype, torch.int64
    sums = [add_up(part, pred, kind) for part, kind in zip(parts, kinds, strict=True)]
    return sums[0], sums[1], sums[2], sums[3]


def _band(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, out: Tensor | None,
    depth_scale: Tensor | None, semantic_scale: Tensor | None, to_semantics: Tensor | None,
    *, ignore_index: int, above: int, below: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Both terms of a band that carries ``above`` and ``below`` rows beyond those of ``out``."""
    dtype = sums_dtype(pred, target, semantics)
    valid = valid_depth(target, mask)
    error = torch.where(valid, pred.to(dtype) - target.to(dtype), 0)
    sums, count, depth = _term(error, reference.full_windows(valid), above, below, out is not None)
    if semantics is None:
        empty = torch.zeros_like(sums)
        if out is not None:
            out.copy_(depth if depth_scale is None else depth * depth_scale.view(-1, 1, 1))
        return sums, count, empty, torch.zeros_like(count)
    if semantics.is_floating_point():
        windows = reference.full_windows(semantics.isfinite())
        difference = pred.to(dtype) - semantics.to(dtype)
    else:
        windows = reference.class_windows(semantics, ignore_index)
        difference = pred.to(dtype)
    semantic_sums, semantic_count, semantic = _term(difference, windows, above, below, out is not None)
    if out is not None and (depth_scale is None or semantic_scale is None):
        out.copy_(depth + _PACKING * semantic)
    elif out is not None and depth_scale is not None and semantic_scale is not None:
        out.copy_(depth * depth_scale.view(-1, 1, 1) + semantic * semantic_scale.view(-1, 1, 1))
        if to_semantics is not None:
            to_semantics.copy_(-semantic * semantic_scale.view(-1, 1, 1))
    return sums, count, semantic_sums, semantic_count


def _term(x: Tensor, windows: Tensor, above: int, below: int, differentiate: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Sum and number of the windows that start below ``above``, and the slopes of the band's own rows."""
    rows = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    columns = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    horizontal = torch.where(windows, rows[..., 2:] - rows[..., :-2], 0)
    vertical = torch.where(windows, columns[:, 2:] - columns[:, :-2], 0)
    sums = (horizontal.abs() + vertical.abs())[:, above:].sum(2).sum(1)
    count = windows[:, above:].sum(2, dtype=torch.int32).sum(1, dtype=torch.int64)
    if not differentiate:
        return sums, count, sums
    # Signs of windows beyond the image are zero, and two columns of zeros either side spare the slopes their edges.
    edges = 2, 2, 2 - above, 2 - below
    h, v = pad(horizontal.sign(), edges), pad(vertical.sign(), edges)
    smooth = h[:, :-2] + 2 * h[:, 1:-1] + h[:, 2:]
    fall = v[:, :-2] - v[:, 2:]
    return sums, count, smooth[..., :-2] - smooth[..., 2:] + fall[..., :-2] + 2 * fall[..., 1:-1] + fall[..., 2:]


def _unpack(slopes: Tensor, depth_scale: Tensor, semantic_scale: Tensor | None, to_semantics: Tensor | None) -> None:
    depth = depth_scale.view(-1, 1, 1)
    if semantic_scale is None:
        slopes.copy_(slopes * depth)
        return
    semantic = (slopes * (1 / _PACKING)).round()
    scaled = semantic * semantic_scale.view(-1, 1, 1)
    slopes.copy_((slopes - _PACKING * semantic) * depth + scaled)
    if to_semantics is not None:
        to_semantics.copy_(-scaled)


_compiled_band = Compiled(_band)
_compiled_unpack = Compiled(_unpack)
