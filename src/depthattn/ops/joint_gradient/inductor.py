"""The joint gradient loss through torch.compile, one term and one band of overlapping rows at a time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from depthattn.ops.compiled import Compiled
from depthattn.ops.joint_gradient import sums_dtype
from depthattn.ops.masking import valid_depth
from depthattn.ops.tiling import Scratch, add_up, cut, tile_elements, tiles

# Five maps of a band that the compiled code stores, and masks.
_BUFFERS = 6
# The slope of either term is a whole number in [-16, 16]: both fit one float, as depth + 64 * semantic.
_PACKING = 64


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return _bands(pred, target, mask, semantics, ignore_index, None, None, None)


def forward_with_slopes(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """As ``forward``, and the slopes of both sums towards ``pred``, packed into one map like it."""
    slopes = pred.new_empty(pred.shape)
    return *_bands(pred, target, mask, semantics, ignore_index, slopes, None, None), slopes


def unpack(
    slopes: Tensor, depth_scale: Tensor, semantic_scale: Tensor, semantics: Tensor | None, differentiate_semantics: bool
) -> Tensor:
    """Turn packed slopes into the gradient of ``pred``, in place; returns that of ``semantics``, or an empty tensor."""
    to_semantics = _gradient_of(semantics, differentiate_semantics, slopes)
    if slopes.numel():
        _compiled_unpack(
            slopes, None, depth_scale, None if semantics is None else semantic_scale,
            to_semantics if differentiate_semantics else None,
        )  # fmt: skip
    return to_semantics


def backward(
    depth_scale: Tensor, semantic_scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None,
    semantics: Tensor | None, ignore_index: int, differentiate_semantics: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    gradient = pred.new_empty(pred.shape)
    if pred.dtype not in (torch.float16, torch.bfloat16):
        _bands(pred, target, mask, semantics, ignore_index, gradient, None, None)
        return gradient, unpack(gradient, depth_scale, semantic_scale, semantics, differentiate_semantics)
    to_semantics = _gradient_of(semantics, differentiate_semantics, pred)
    scales = depth_scale, semantic_scale
    _bands(
        pred, target, mask, semantics, ignore_index, gradient, scales, to_semantics if differentiate_semantics else None
    )
    return gradient, to_semantics


def _gradient_of(semantics: Tensor | None, differentiate: bool, pred: Tensor) -> Tensor:
    return semantics.new_empty(semantics.shape) if semantics is not None and differentiate else pred.new_empty(0)


def _bands(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int,
    out: Tensor | None, scales: tuple[Tensor, Tensor] | None, to_semantics: Tensor | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """Sums and windows of both terms; into ``out`` go the packed slopes, or with ``scales`` the gradient itself."""
    dtype = sums_dtype(pred, target, semantics)
    batch, height, width = pred.shape
    halo, through = 4 * width, scales is not None
    elements = max(tile_elements(pred, _BUFFERS + through, dtype), halo + width)
    scratch = Scratch(pred, int(through), elements, dtype)
    parts: tuple[list[Tensor], ...] = [], [], [], []
    for images, rows in tiles(batch, height, width, elements - halo):
        top = rows.start if out is None else max(rows.start - 2, 0)
        bottom = min(rows.stop + 2, height)
        if bottom - top < 3:
            continue
        raw, true, allowed, semantic = cut(images, slice(top, bottom), pred, target, mask, semantics)
        (here,) = cut(images, rows, out)
        tile = here if here is None or scales is None else scratch.shaped(*here.shape)[0]
        reach = {"above": rows.start - top, "below": bottom - rows.stop}
        results = _compiled_term(raw, true, allowed, tile, dtype=dtype, kind="depth", ignore_index=None, **reach)
        if semantic is not None:
            kind = "map" if semantic.is_floating_point() else "classes"
            known = None if kind == "map" or not fits(ignore_index, semantic.dtype) else ignore_index
            results += _compiled_term(raw, semantic, None, tile, dtype=dtype, kind=kind, ignore_index=known, **reach)
        for part, result in zip(parts, results, strict=False):
            part.append(result)
        if scales is not None:
            _compiled_unpack(
                tile, here, scales[0][images], None if semantics is None else scales[1][images],
                None if to_semantics is None else to_semantics[images, rows],
            )  # fmt: skip
    kinds = dtype, torch.int64, dtype, torch.int64
    sums = [add_up(part, pred, kind) for part, kind in zip(parts, kinds, strict=True)]
    return sums[0], sums[1], sums[2], sums[3]


def fits(value: int, dtype: torch.dtype) -> bool:
    return torch.iinfo(dtype).min <= value <= torch.iinfo(dtype).max


def _term(
    pred: Tensor, other: Tensor, mask: Tensor | None, slopes: Tensor | None,
    *, dtype: torch.dtype, kind: str, ignore_index: int | None, above: int, below: int,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Sum and number of the windows that start below ``above``; writes or adds to the packed ``slopes``."""
    if kind == "classes":
        x = pred.to(dtype)
        windows = one_class(other, ignore_index, dtype)
    else:
        good = valid_depth(other, mask) if kind == "depth" else other.isfinite()
        x = torch.where(good, pred.to(dtype) - other.to(dtype), 0)
        windows = all_of_nine(good[:, :-2] & good[:, 1:-1] & good[:, 2:], dtype)
    sums, falls = stored(x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]), stored(x[:, 2:] - x[:, :-2])
    horizontal = torch.where(windows, sums[..., 2:] - sums[..., :-2], 0)
    vertical = torch.where(windows, falls[..., :-2] + 2 * falls[..., 1:-1] + falls[..., 2:], 0)
    # Per row first: rows are what the threads share.
    total = (horizontal.abs() + vertical.abs())[:, above:].sum(2).sum(1)
    count = windows[:, above:].sum(2, dtype=torch.int32).sum(1, dtype=torch.int64)
    if slopes is None:
        return total, count
    # Both signs in one map, with zeros for the windows beyond the image and for two columns either side.
    signs = stored(pad(3 * horizontal.sign() + vertical.sign(), (2, 2, 2 - above, 2 - below)))
    across, along = _digits(signs, 3)
    across = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
    along = along[:, :-2] - along[:, 2:]
    across, along = _digits(stored(8 * across + along), 8)
    slope = across[..., :-2] - across[..., 2:] + along[..., :-2] + 2 * along[..., 1:-1] + along[..., 2:]
    slopes.copy_(slope if kind == "depth" else slopes + _PACKING * slope)
    return total, count


def stored(x: Tensor) -> Tensor:
    """The same values, in memory: the compiler does not inline what is read through explicit strides.

    Left to itself it recomputes the neighbours of a stencil at each of their uses, which took six times as long.
    """
    x = x.contiguous()
    return x.as_strided(x.shape, x.stride())


def _digits(packed: Tensor, base: int) -> tuple[Tensor, Tensor]:
    """The whole numbers a and b, |b| < base / 2, of base * a + b."""
    high = (packed * (1 / base)).round()
    return high, packed - base * high


def all_of_nine(columns: Tensor, dtype: torch.dtype) -> Tensor:
    """True where three columns side by side are."""
    column = _stored_flags(columns, dtype)
    return torch.minimum(torch.minimum(column[..., :-2], column[..., 1:-1]), column[..., 2:]) > 0


def one_class(labels: Tensor, ignore_index: int | None, dtype: torch.dtype) -> Tensor:
    """True for windows of nine equal labels that are not ``ignore_index``."""
    above, centre, below = labels[:, :-2], labels[:, 1:-1], labels[:, 2:]
    # Bits that differ, gathered before the only comparison: comparing 64-bit integers is what takes the time.
    down = (above ^ centre) | (centre ^ below)
    pairs = (down[..., :-1] | down[..., 1:] | (centre[..., :-1] ^ centre[..., 1:])) == 0
    if ignore_index is not None:
        pairs = pairs & (centre[..., 1:] != ignore_index)
    pair = _stored_flags(pairs, dtype)
    return torch.minimum(pair[..., :-1], pair[..., 1:]) > 0


def _stored_flags(where: Tensor, dtype: torch.dtype) -> Tensor:
    # Floats from the start: whole numbers would have 64 bits, and take longer to become floats than all else.
    return stored(torch.where(where, 1.0, 0.0).to(dtype))


def _unpack(
    slopes: Tensor, out: Tensor | None, depth_scale: Tensor, semantic_scale: Tensor | None, to_semantics: Tensor | None
) -> None:
    out = slopes if out is None else out
    depth = depth_scale.view(-1, 1, 1)
    if semantic_scale is None:
        out.copy_(slopes * depth)
        return
    semantic, own = _digits(slopes, _PACKING)
    scaled = semantic * semantic_scale.view(-1, 1, 1)
    out.copy_(own * depth + scaled)
    if to_semantics is not None:
        to_semantics.copy_(-scaled)


_compiled_term = Compiled(_term)
_compiled_unpack = Compiled(_unpack)
