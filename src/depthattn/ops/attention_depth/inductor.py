"""The depth side of the attention-driven loss through torch.compile: one loop nest over bands of rows for all terms."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from depthattn.ops.attention_depth.ahead import CountedAhead
from depthattn.ops.attention_depth.reference import Options
from depthattn.ops.compiled import Compiled
from depthattn.ops.depth_aware.inductor import normalisers, values_and_slopes
from depthattn.ops.joint_gradient.inductor import all_of_nine, fits, one_class, stored
from depthattn.ops.masking import valid_depth
from depthattn.ops.tiling import cut, tile_elements, tiles

# Of a band: the error, two maps of signs and one of windows per term, values, and sums of rows.
_BUFFERS = 8


def _counts(
    target: Tensor, mask: Tensor | None, labels: Tensor | None, ignore_index: int, dtype: torch.dtype
) -> Tensor:
    batch, height, width = target.shape
    counts = target.new_zeros(3, batch, dtype=torch.int64)
    elements = max(tile_elements(target, _BUFFERS, dtype), 3 * width)
    for images, rows in tiles(batch, height, width, elements - 2 * width):
        band = slice(rows.start, min(rows.stop + 2, height))
        if band.stop - band.start < 3:
            # Two rows have no window, and too few pixels to compile for.
            counts[0, images] += valid_depth(*cut(images, band, target, mask)).sum((1, 2))
            continue
        counts[:, images] += _compiled_count(
            *cut(images, band, target, mask, labels), ignore_index=_known(ignore_index, labels), dtype=dtype,
            below=band.stop - rows.stop,
        )  # fmt: skip
    return counts


def _bands(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, norm: Tensor, options: Options,
    scales: Tensor | None, out: Tensor | None,
) -> Tensor:  # fmt: skip
    distance, beta, log_offset, detach_weight, ignore_index = options
    batch, height, width = pred.shape
    sums = pred.new_zeros(3, batch, dtype=norm.dtype)
    elements = max(tile_elements(pred, _BUFFERS, norm.dtype), 5 * width)
    for images, rows in tiles(batch, height, width, elements - 4 * width):
        top, bottom = max(rows.start - 2, 0), min(rows.stop + 2, height)
        sums[:, images] += _compiled_band(
            *cut(images, slice(top, bottom), pred, target, mask, labels), norm[images],
            None if scales is None else scales[:, images].contiguous(), None if out is None else out[images, rows],
            distance=distance, beta=beta, log_offset=log_offset, detach_weight=detach_weight,
            ignore_index=_known(ignore_index, labels), above=rows.start - top, below=bottom - rows.stop,
        )  # fmt: skip
    return sums


def _known(ignore_index: int, labels: Tensor | None) -> int | None:
    return ignore_index if labels is not None and fits(ignore_index, labels.dtype) else None


def _count(
    target: Tensor, mask: Tensor | None, labels: Tensor | None, *, ignore_index: int | None, dtype: torch.dtype,
    below: int,
) -> Tensor:  # fmt: skip
    """Valid pixels, and windows of both kinds that start above ``below``, (3,images)."""
    good = valid_depth(target, mask)
    valid = good[:, : good.shape[1] - below].sum(2, dtype=torch.int32).sum(1, dtype=torch.int64)
    windows = [all_of_nine(good[:, :-2] & good[:, 1:-1] & good[:, 2:], dtype)]
    if labels is not None:
        windows.append(one_class(labels, ignore_index, dtype))
    counts = [w.sum(2, dtype=torch.int32).sum(1, dtype=torch.int64) for w in windows]
    return torch.stack((valid, *counts, *[torch.zeros_like(valid)] * (2 - len(counts))))


def _band(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, norm: Tensor, scales: Tensor | None,
    out: Tensor | None, *, distance: str, beta: float, log_offset: float, detach_weight: bool,
    ignore_index: int | None, above: int, below: int,
) -> Tensor:  # fmt: skip
    """Sums of the rows between ``above`` and ``below``, (3,images); writes the gradient of them times ``scales``."""
    dtype = norm.dtype
    own = slice(above, pred.shape[1] - below)
    good = valid_depth(target, mask)
    wide, true = pred.to(dtype), target.to(dtype)
    values, slope = values_and_slopes(
        wide[:, own], true[:, own], good[:, own], norm, distance, beta, log_offset, detach_weight
    )
    sums = [values.sum(2).sum(1)]
    terms = [
        (stored(torch.where(good, wide - true, 0)), all_of_nine(good[:, :-2] & good[:, 1:-1] & good[:, 2:], dtype))
    ]
    if labels is not None:
        terms.append((wide, one_class(labels, ignore_index, dtype)))
    horizontal_signs: Tensor | None = None
    vertical_signs: Tensor | None = None
    for index, (x, windows) in enumerate(terms, start=1):
        columns = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
        falls = x[:, 2:] - x[:, :-2]
        horizontal = torch.where(windows, columns[..., 2:] - columns[..., :-2], 0)
        vertical = torch.where(windows, falls[..., :-2] + 2 * falls[..., 1:-1] + falls[..., 2:], 0)
        sums.append((horizontal.abs() + vertical.abs())[:, above:].sum(2).sum(1))
        if scales is not None:
            # Sobel is linear: the signs of both terms, each by its scale, share one transposed stencil.
            scale = scales[index, :, None, None]
            h, v = scale * horizontal.sign(), scale * vertical.sign()
            horizontal_signs = h if horizontal_signs is None else horizontal_signs + h
            vertical_signs = v if vertical_signs is None else vertical_signs + v
    if scales is not None and out is not None and horizontal_signs is not None and vertical_signs is not None:
        margin = (2, 2, 2 - above, 2 - below)
        across, along = stored(pad(horizontal_signs, margin)), stored(pad(vertical_signs, margin))
        across = across[:, :-2] + 2 * across[:, 1:-1] + across[:, 2:]
        along = along[:, :-2] - along[:, 2:]
        edges = across[..., :-2] - across[..., 2:] + along[..., :-2] + 2 * along[..., 1:-1] + along[..., 2:]
        out.copy_(scales[0, :, None, None] * slope + edges)
    return torch.stack((*sums, *[torch.zeros_like(sums[0])] * (3 - len(sums))))


_compiled_band = Compiled(_band)
_compiled_count = Compiled(_count)

_passes = CountedAhead(normalisers, _counts, _bands)
forward, forward_with_gradient, backward = _passes.forward, _passes.forward_with_gradient, _passes.backward
