"""The joint gradient loss through torch.compile, in bands of rows that overlap by the reach of a window."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from depthattn.ops.compiled import Compiled
from depthattn.ops.joint_gradient import sums_dtype
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
    good = _stored(torch.where(valid, target.to(dtype), 0))
    error = _stored(torch.where(valid, pred.to(dtype) - target.to(dtype), 0))
    differentiate = out is not None
    sums, count, depth = _term(error, _all_of_nine(good), above, below, differentiate)
    if semantics is None:
        if out is not None:
            out.copy_(depth if depth_scale is None else depth * depth_scale.view(-1, 1, 1))
        return sums, count, torch.zeros_like(sums), torch.zeros_like(count)
    if semantics.is_floating_point():
        windows = _all_of_nine(_stored(torch.where(semantics.isfinite(), 1, 0).to(dtype)))
        difference = _stored(pred.to(dtype) - semantics.to(dtype))
    else:
        windows = _one_class(semantics, ignore_index, dtype)
        difference = _stored(pred.to(dtype))
    semantic_sums, semantic_count, semantic = _term(difference, windows, above, below, differentiate)
    if out is not None and (depth_scale is None or semantic_scale is None):
        out.copy_(depth + _PACKING * semantic)
    elif out is not None and depth_scale is not None and semantic_scale is not None:
        scaled = semantic * semantic_scale.view(-1, 1, 1)
        out.copy_(depth * depth_scale.view(-1, 1, 1) + scaled)
        if to_semantics is not None:
            to_semantics.copy_(-scaled)
    return sums, count, semantic_sums, semantic_count


def _stored(x: Tensor) -> Tensor:
    """The same values, in memory: the compiler does not inline what is read through explicit strides.

    Left to itself it recomputes the neighbours of a stencil at each of their uses, which took six times as long.
    """
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())


def _all_of_nine(good: Tensor) -> Tensor:
    """True for windows of nine pixels > 0."""
    column = _stored(torch.minimum(torch.minimum(good[:, :-2], good[:, 1:-1]), good[:, 2:]))
    return torch.minimum(torch.minimum(column[..., :-2], column[..., 1:-1]), column[..., 2:]) > 0


def _one_class(labels: Tensor, ignore_index: int, dtype: torch.dtype) -> Tensor:
    """True for windows of nine equal labels that are not ``ignore_index``."""
    centre = labels[:, 1:-1]
    down = (labels[:, :-2] == centre) & (centre == labels[:, 2:])
    limits = torch.iinfo(labels.dtype)
    if limits.min <= ignore_index <= limits.max:
        down = down & (centre != ignore_index)
    column = _stored(torch.where(down, 1, 0).to(dtype))
    columns = torch.minimum(torch.minimum(column[..., :-2], column[..., 1:-1]), column[..., 2:]) > 0
    return columns & (centre[..., :-2] == centre[..., 1:-1]) & (centre[..., 1:-1] == centre[..., 2:])


def _term(x: Tensor, windows: Tensor, above: int, below: int, differentiate: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Sum and number of the windows that start below ``above``, and the slopes of the band's own rows."""
    sums, falls = _stored(x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]), _stored(x[:, 2:] - x[:, :-2])
    horizontal = torch.where(windows, sums[..., 2:] - sums[..., :-2], 0)
    vertical = torch.where(windows, falls[..., :-2] + 2 * falls[..., 1:-1] + falls[..., 2:], 0)
    # Per row first: a row at a time stays exact in float32 and in int32, and rows are what the threads share.
    total = (horizontal.abs() + vertical.abs())[:, above:].sum(2).sum(1)
    count = windows[:, above:].sum(2, dtype=torch.int32).sum(1, dtype=torch.int64)
    if not differentiate:
        return total, count, total
    # Both signs in one map, with zeros for the windows beyond the image and for two columns either side.
    signs = _stored(pad(3 * horizontal.sign() + vertical.sign(), (2, 2, 2 - above, 2 - below)))
    across = (signs * (1 / 3)).round()
    along = signs - 3 * across
    across = _stored(across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:])
    along = _stored(along[:, :-2] - along[:, 2:])
    return (
        total,
        count,
        across[..., :-2] - across[..., 2:] + along[..., :-2] + 2 * along[..., 1:-1] + along[..., 2:],
    )


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
