"""A walk down a strip of rows with the Sobel windows around its pixels, as parts of Triton kernels.

A program keeps the last rows in registers, so that a window costs three loads of each map instead of nine, most of
them from cache. Pixels, rows of windows and sums are tuples with an entry for each term: depth, then semantic.
"""

from __future__ import annotations

import triton
import triton.language as tl

from depthattn.ops.triton_utils import load_map, load_target, sign

# One column for each of 128 threads. A strip is loaded with two rows too many forward and four backward, mostly from
# cache: 16 rows keep that small and still give 1200 programs at 8 x 480 x 640.
COLUMNS_OF_A_STRIP = 128
ROWS_OF_A_STRIP = 16


@triton.jit
def inside_image(row, column, height, width):
    """Whether the pixels lie in the image: a row outside of it has no columns."""
    return (column >= 0) & (column < tl.where((row >= 0) & (row < height), width, 0))


@triton.jit
def load_pixel(
    pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
    image, row, column, height, width, ignore_index, WIDE: tl.constexpr, LABELS: tl.constexpr,
):  # fmt: skip
    """(d - g, whether it counts, d - s or d, whether that counts, label) of the pixels of a row."""
    inside = inside_image(row, column, height, width)
    p = load_map(pred, pred_strides, image, row, column, inside).to(WIDE)
    g, valid = load_target(target, mask, target_strides, mask_strides, image, row, column, inside, WIDE)
    difference, counts, label = p, inside, inside
    if semantics is not None:
        label = load_map(semantics, semantics_strides, image, row, column, inside)
        if LABELS:
            counts = inside & (label.to(tl.int64) != ignore_index)
        else:
            difference = p - label.to(WIDE)
            counts = inside & (tl.abs(label.to(WIDE)) < float("inf"))
    return p - g, valid, difference, counts, label


@triton.jit
def load_pixels(
    pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
    image, row, column, height, width, ignore_index, ABREAST: tl.constexpr, WIDE: tl.constexpr, LABELS: tl.constexpr,
):  # fmt: skip
    """The pixels of a row at these columns and at the next ones, ``ABREAST`` in all."""
    pixels = ()
    for k in tl.static_range(ABREAST):
        pixels = pixels + (
            load_pixel(
                pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
                image, row, column + k, height, width, ignore_index, WIDE, LABELS,
            ),
        )  # fmt: skip
    return pixels


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
def start_of_sums(semantics, TERMS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr):
    """(top, middle, sums, windows) above the first row of the walk that adds up windows.

    Each name starts with values of its own: the compiler takes a name that starts as another one and then follows it
    for unchanged, and drops it from the loop.
    """
    top = ()
    middle = ()
    sums = ()
    windows = ()
    for _ in tl.static_range(TERMS):
        top = top + (nothing(semantics, COLUMNS, WIDE),)
        middle = middle + (nothing(semantics, COLUMNS, WIDE),)
        sums = sums + (tl.zeros([COLUMNS], WIDE),)
        windows = windows + (tl.zeros([COLUMNS], tl.int32),)
    return top, middle, sums, windows


@triton.jit
def add_windows(pixels, top, middle, sums, windows, TERMS: tl.constexpr, LABELS: tl.constexpr):
    """(bottom, sums, windows): the row of windows of three ``pixels``, and the windows that it completes added."""
    bottom = ()
    added = ()
    counted = ()
    for term in tl.static_range(TERMS):
        bottom = bottom + (across(pixels[0], pixels[1], pixels[2], term, LABELS),)
        h, v, inside = window(top[term], middle[term], bottom[term], LABELS and term == 1)
        added = added + (sums[term] + tl.where(inside, tl.abs(h) + tl.abs(v), 0.0),)
        counted = counted + (windows[term] + inside.to(tl.int32),)
    return bottom, added, counted


@triton.jit
def start_of_slopes(semantics, TERMS: tl.constexpr, COLUMNS: tl.constexpr, WIDE: tl.constexpr):
    """(top, middle, before, between) above the first row of the walk that gathers slopes; see ``start_of_sums``."""
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
    return top, middle, before, between


@triton.jit
def gather(top, middle, bottom, LABELS: tl.constexpr):
    """What the windows with these rows add to their pixels: by the transposed Sobel kernels, across a row."""
    signs = ()
    for k in tl.static_range(3):
        h, v, inside = window(top[k], middle[k], bottom[k], LABELS)
        signs = signs + (tl.where(inside, sign(h), 0.0), tl.where(inside, sign(v), 0.0))
    return signs[0] - signs[4], signs[1] + 2.0 * signs[3] + signs[5]


@triton.jit
def gather_slopes(
    pixels, top, middle, before, between, TERMS: tl.constexpr, LABELS: tl.constexpr
):  # fmt: skip
    """(bottom, now, slopes): the rows of windows of five ``pixels``, what the windows that they complete add to their
    pixels, and the slope at the pixel two rows and two columns back, to which no window is missing now."""
    bottom = ()
    now = ()
    slopes = ()
    for term in tl.static_range(TERMS):
        # The pixel of this column is the right, the middle and the left one of these windows in turn.
        rows = ()
        for k in tl.static_range(3):
            rows = rows + (across(pixels[k], pixels[k + 1], pixels[k + 2], term, LABELS),)
        gathered = gather(top[term], middle[term], rows, LABELS and term == 1)
        slope = before[term][0] + 2.0 * between[term][0] + gathered[0] + (before[term][1] - gathered[1])
        bottom = bottom + (rows,)
        now = now + (gathered,)
        slopes = slopes + (slope,)
    return bottom, now, slopes
