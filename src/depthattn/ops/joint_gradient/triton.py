"""The joint gradient loss as Triton kernels: both terms in one pass over the maps, forward and backward.

A program walks down a strip of rows and keeps the last ones in registers, so that a window costs three loads of
each map instead of nine, most of them from cache. The backward pass gathers: a pixel adds up the windows around
it, whose signs it works out anew, and no two programs write to one place.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.joint_gradient import sums_dtype
from depthattn.ops.triton_utils import fastest_axis_last, fold, launch, sign, strides_of, wide_type

# One column for each of 128 threads. A strip is loaded with two rows too many forward and four backward, mostly from
# cache: 16 rows keep that small and still give 1200 programs at 8 x 480 x 640.
COLUMNS_OF_A_STRIP = 128
ROWS_OF_A_STRIP = 16


@triton.jit
def locate(height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The image, first row and columns of this program, 64 bits wide."""
    abreast = tl.cdiv(width, COLUMNS)
    strips = tl.cdiv(height, ROWS) * abreast
    program = tl.program_id(0).to(tl.int64)
    strip = program % strips
    return program // strips, (strip // abreast) * ROWS, (strip % abreast) * COLUMNS + tl.arange(0, COLUMNS)


@triton.jit
def inside_image(row, column, height, width):
    """Whether the pixels lie in the image: a row outside of it has no columns."""
    return (column >= 0) & (column < tl.where((row >= 0) & (row < height), width, 0))


@triton.jit
def load_row(pointer, strides, image, row, column, inside):
    return tl.load(pointer + image * strides[0] + row * strides[1] + column * strides[2], mask=inside, other=0)


@triton.jit
def store_row(pointer, strides, image, row, column, value, inside):
    address = pointer + image * strides[0] + row * strides[1] + column * strides[2]
    tl.store(address, value.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def load_pixel(
    pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
    image, row, column, height, width, ignore_index, WIDE: tl.constexpr, LABELS: tl.constexpr,
):  # fmt: skip
    """(d - g, whether it counts, d - s or d, whether that counts, label) of the pixels of a row."""
    inside = inside_image(row, column, height, width)
    p = load_row(pred, pred_strides, image, row, column, inside).to(WIDE)
    g = load_row(target, target_strides, image, row, column, inside).to(WIDE)
    valid = (g > 0) & (g < float("inf"))
    if mask is not None:
        valid = valid & (load_row(mask, mask_strides, image, row, column, inside) != 0)
    difference, counts, label = p, inside, inside
    if semantics is not None:
        label = load_row(semantics, semantics_strides, image, row, column, inside)
        if LABELS:
            counts = inside & (label.to(tl.int64) != ignore_index)
        else:
            difference = p - label.to(WIDE)
            counts = inside & (tl.abs(label.to(WIDE)) < float("inf"))
    return p - g, valid, difference, counts, label


@triton.jit
def across(left, centre, right, TERM: tl.constexpr, LABELS: tl.constexpr):
    """(difference, smoothed sum, whether it counts, label) of a window's row, for the depth or the semantic term."""
    counts = left[2 * TERM + 1] & centre[2 * TERM + 1] & right[2 * TERM + 1]
    if LABELS and TERM == 1:
        counts = counts & (left[4] == centre[4]) & (centre[4] == right[4])
    a, b, c = left[2 * TERM], centre[2 * TERM], right[2 * TERM]
    return c - a, a + 2.0 * b + c, counts, centre[4]


@triton.jit
def nothing(semantics, COLUMNS: tl.constexpr, WIDE: tl.constexpr):
    """A window's row that does not count, for before the first."""
    zero = tl.zeros([COLUMNS], WIDE)
    no = tl.zeros([COLUMNS], tl.int1)
    label = no
    if semantics is not None:
        label = tl.zeros([COLUMNS], semantics.dtype.element_ty)
    return zero, zero, no, label


@triton.jit
def window(top, middle, bottom, LABELS: tl.constexpr):
    """Sh and Sv of the windows with these rows, and whether they count."""
    counts = top[2] & middle[2] & bottom[2]
    if LABELS:
        counts = counts & (top[3] == middle[3]) & (middle[3] == bottom[3])
    return top[0] + 2.0 * middle[0] + bottom[0], bottom[1] - top[1], counts


@triton.jit
def _forward_kernel(
    pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
    sums, counts, height, width, ignore_index,
    WIDE: tl.constexpr, LABELS: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height - 2, width - 2, ROWS, COLUMNS)
    # Each name starts with values of its own: the compiler takes a name that starts as another one and then follows it
    # for unchanged, and drops it from the loop.
    totals = ()
    windows = ()
    top = ()
    middle = ()
    for _ in tl.static_range(TERMS):
        totals = totals + (tl.zeros([COLUMNS], WIDE),)
        windows = windows + (tl.zeros([COLUMNS], tl.int32),)
        top = top + (nothing(semantics, COLUMNS, WIDE),)
        middle = middle + (nothing(semantics, COLUMNS, WIDE),)
    for r in range(ROWS + 2):
        pixels = ()
        for k in tl.static_range(3):
            pixels = pixels + (
                load_pixel(
                    pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
                    image, first + r, column + k, height, width, ignore_index, WIDE, LABELS,
                ),
            )  # fmt: skip
        bottom = ()
        added = ()
        counted = ()
        for term in tl.static_range(TERMS):
            bottom = bottom + (across(pixels[0], pixels[1], pixels[2], term, LABELS),)
            h, v, inside = window(top[term], middle[term], bottom[term], LABELS and term == 1)
            added = added + (totals[term] + tl.where(inside, tl.abs(h) + tl.abs(v), 0.0),)
            counted = counted + (windows[term] + inside.to(tl.int32),)
        totals = added
        windows = counted
        top = middle
        middle = bottom
    program = tl.program_id(0).to(tl.int64)
    for term in tl.static_range(TERMS):
        tl.store(sums[term] + program, tl.sum(totals[term]))
        tl.store(counts[term] + program, tl.sum(windows[term]))


@triton.jit
def gather(top, middle, bottom, scale, LABELS: tl.constexpr):
    """What the windows with these rows add to their pixels: by the transposed Sobel kernels, across a row."""
    signs = ()
    for k in tl.static_range(3):
        h, v, inside = window(top[k], middle[k], bottom[k], LABELS)
        signs = signs + (tl.where(inside, sign(h), 0.0), tl.where(inside, sign(v), 0.0))
    return scale * (signs[0] - signs[4]), scale * (signs[1] + 2.0 * signs[3] + signs[5])


@triton.jit
def _backward_kernel(
    depth_scale, semantic_scale, scale_strides, pred, target, mask, semantics,
    pred_strides, target_strides, mask_strides, semantics_strides,
    to_pred, to_semantics, to_pred_strides, to_semantics_strides, height, width, ignore_index,
    WIDE: tl.constexpr, LABELS: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height, width, ROWS, COLUMNS)
    scales = (tl.load(depth_scale + image * scale_strides[0]), tl.load(semantic_scale + image * scale_strides[1]))
    # Each name starts with values of its own, as in the forward kernel.
    top = ()
    middle = ()
    before = ()
    between = ()
    for _ in tl.static_range(TERMS):
        above = ()
        above2 = ()
        for _ in tl.static_range(3):
            above = above + (nothing(semantics, COLUMNS, WIDE),)
            above2 = above2 + (nothing(semantics, COLUMNS, WIDE),)
        top = top + (above2,)
        middle = middle + (above,)
        before = before + ((tl.zeros([COLUMNS], WIDE), tl.zeros([COLUMNS], WIDE)),)
        between = between + ((tl.zeros([COLUMNS], WIDE), tl.zeros([COLUMNS], WIDE)),)
    for r in range(ROWS + 4):
        pixels = ()
        for k in tl.static_range(5):
            pixels = pixels + (
                load_pixel(
                    pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
                    image, first + (r - 2), column + (k - 2), height, width, ignore_index, WIDE, LABELS,
                ),
            )  # fmt: skip
        bottom = ()
        now = ()
        parts = ()
        for term in tl.static_range(TERMS):
            # The pixel of this column is the right, the middle and the left one of these windows in turn.
            rows = ()
            for k in tl.static_range(3):
                rows = rows + (across(pixels[k], pixels[k + 1], pixels[k + 2], term, LABELS),)
            gathered = gather(top[term], middle[term], rows, scales[term], LABELS and term == 1)
            part = before[term][0] + 2.0 * between[term][0] + gathered[0] + (before[term][1] - gathered[1])
            bottom = bottom + (rows,)
            now = now + (gathered,)
            parts = parts + (part,)
        # Two rows of pixels complete a window and two rows of windows a pixel.
        row = first + (r - 4)
        inside = inside_image(tl.where(r >= 4, row, -1), column, height, width)
        gradient = parts[0]
        if TERMS == 2:
            gradient += parts[1]
            if to_semantics is not None:
                store_row(to_semantics, to_semantics_strides, image, row, column, -parts[1], inside)
        store_row(to_pred, to_pred_strides, image, row, column, gradient, inside)
        before = between
        between = now
        top = middle
        middle = bottom


def _options(pred: Tensor, target: Tensor, semantics: Tensor | None) -> dict[str, Any]:
    return {
        "WIDE": wide_type(sums_dtype(pred, target, semantics)),
        "LABELS": semantics is not None and not semantics.is_floating_point(),
        "TERMS": 1 if semantics is None else 2,
        "ROWS": ROWS_OF_A_STRIP,
        "COLUMNS": COLUMNS_OF_A_STRIP,
    }


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Sums and windows of the depth and of the semantic term, per image."""
    batch = pred.shape[0]
    p, (g, m, s) = fastest_axis_last(pred, target, mask, semantics)
    height, width = p.shape[1:]
    strips = triton.cdiv(height - 2, ROWS_OF_A_STRIP) * triton.cdiv(width - 2, COLUMNS_OF_A_STRIP)
    options = _options(pred, target, semantics)
    terms = 1 if semantics is None else 2
    dtype = sums_dtype(pred, target, semantics)
    partial_sums = tuple(pred.new_empty(batch, strips, dtype=dtype) for _ in range(terms))
    partial_counts = tuple(pred.new_empty(batch, strips, dtype=torch.int32) for _ in range(terms))
    launch(
        _forward_kernel, batch * strips, pred, p, g, m, s,
        strides_of(p), strides_of(g), strides_of(m), strides_of(s),
        partial_sums, partial_counts, height, width, ignore_index, **options,
    )  # fmt: skip
    make = pred.new_empty if terms == 2 else pred.new_zeros
    depth, depth_windows = pred.new_empty(batch, dtype=dtype), pred.new_empty(batch, dtype=torch.int64)
    semantic, semantic_windows = make(batch, dtype=dtype), make(batch, dtype=torch.int64)
    fold((*partial_sums, *partial_counts), ((depth, semantic)[:terms] + (depth_windows, semantic_windows)[:terms]))
    return depth, depth_windows, semantic, semantic_windows


def backward(
    depth_scale: Tensor, semantic_scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None,
    semantics: Tensor | None, ignore_index: int, differentiate_semantics: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The gradients to ``pred`` and, where asked for, to a float ``semantics``, else an empty one."""
    to_pred = pred.new_empty(pred.shape)
    to_semantics = None
    if semantics is not None and differentiate_semantics:
        to_semantics = semantics.new_empty(semantics.shape)
    p, (g, m, s, out, out_s) = fastest_axis_last(pred, target, mask, semantics, to_pred, to_semantics)
    height, width = p.shape[1:]
    strips = triton.cdiv(height, ROWS_OF_A_STRIP) * triton.cdiv(width, COLUMNS_OF_A_STRIP)
    launch(
        _backward_kernel, pred.shape[0] * strips, pred, depth_scale, semantic_scale,
        (depth_scale.stride(0), semantic_scale.stride(0)), p, g, m, s,
        strides_of(p), strides_of(g), strides_of(m), strides_of(s),
        out, out_s, strides_of(out), strides_of(out_s), height, width, ignore_index,
        **_options(pred, target, semantics),
    )  # fmt: skip
    return to_pred, pred.new_empty(0) if to_semantics is None else to_semantics
