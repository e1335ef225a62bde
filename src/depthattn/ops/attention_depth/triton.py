"""The depth side of the attention-driven loss as Triton kernels: one pass over the maps forward, one backward.

The walk is that of the joint gradient loss, down a strip of rows that stay in registers; the depth-aware loss of a
pixel is taken where the walk meets it. Without ``max_depth`` a pass over the target goes ahead, for the largest depth
of each image.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.attention_depth.reference import Options
from depthattn.ops.depth_aware.triton import loss_of_pixels, normalisers, options_of
from depthattn.ops.joint_gradient.walk import (
    COLUMNS_OF_A_STRIP,
    ROWS_OF_A_STRIP,
    add_windows,
    gather_slopes,
    inside_image,
    load_pixels,
    start_of_slopes,
    start_of_sums,
)
from depthattn.ops.triton_utils import fastest_axis_last, fold, launch, locate, store_map, strides_of


@triton.jit
def _forward_kernel(
    pred, target, mask, labels, pred_strides, target_strides, mask_strides, labels_strides, norm,
    sums, counts, height, width, ignore_index,
    DISTANCE: tl.constexpr, BETA: tl.constexpr, LOG_OFFSET: tl.constexpr, LOG_FLOOR: tl.constexpr,
    WIDE: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height, width, ROWS, COLUMNS)
    over_m = 1.0 / tl.load(norm + image)
    total = tl.zeros([COLUMNS], WIDE)
    counted = tl.zeros([COLUMNS], tl.int32)
    top, middle, totals, windows = start_of_sums(labels, TERMS, COLUMNS, WIDE)
    for r in range(ROWS + 2):
        row = first + r
        own = inside_image(tl.where(r < ROWS, row, -1), column, height, width)
        value, _slope, valid = loss_of_pixels(
            pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, own, over_m,
            DISTANCE, BETA, LOG_OFFSET, LOG_FLOOR, True, WIDE,
        )  # fmt: skip
        total += value
        counted += valid.to(tl.int32)
        pixels = load_pixels(
            pred, target, mask, labels, pred_strides, target_strides, mask_strides, labels_strides,
            image, row, column, height, width, ignore_index, 3, WIDE, labels is not None,
        )  # fmt: skip
        bottom, totals, windows = add_windows(pixels, top, middle, totals, windows, TERMS, labels is not None)
        top = middle
        middle = bottom
    program = tl.program_id(0).to(tl.int64)
    tl.store(sums[0] + program, tl.sum(total))
    tl.store(counts[0] + program, tl.sum(counted))
    for term in tl.static_range(TERMS):
        tl.store(sums[term + 1] + program, tl.sum(totals[term]))
        tl.store(counts[term + 1] + program, tl.sum(windows[term]))


@triton.jit
def _backward_kernel(
    scales, scale_strides, pred, target, mask, labels, pred_strides, target_strides, mask_strides, labels_strides, norm,
    gradient, gradient_strides, height, width, ignore_index,
    DISTANCE: tl.constexpr, BETA: tl.constexpr, LOG_OFFSET: tl.constexpr, LOG_FLOOR: tl.constexpr,
    DETACH_WEIGHT: tl.constexpr,
    WIDE: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height, width, ROWS, COLUMNS)
    over_m = 1.0 / tl.load(norm + image)
    scales += image * scale_strides[1]
    weight = tl.load(scales)
    weights = (tl.load(scales + scale_strides[0]), tl.load(scales + 2 * scale_strides[0]))
    top, middle, before, between = start_of_slopes(labels, TERMS, COLUMNS, WIDE)
    for r in range(ROWS + 4):
        pixels = load_pixels(
            pred, target, mask, labels, pred_strides, target_strides, mask_strides, labels_strides,
            image, first + (r - 2), column - 2, height, width, ignore_index, 5, WIDE, labels is not None,
        )  # fmt: skip
        # Two rows of pixels complete a window and two rows of windows a pixel.
        row = first + (r - 4)
        inside = inside_image(tl.where(r >= 4, row, -1), column, height, width)
        value, slope, _valid = loss_of_pixels(
            pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, inside, over_m,
            DISTANCE, BETA, LOG_OFFSET, LOG_FLOOR, DETACH_WEIGHT, WIDE,
        )  # fmt: skip
        bottom, now, slopes = gather_slopes(
            pixels, top, middle, before, between, weights, TERMS, labels is not None
        )  # fmt: skip
        value = weight * slope
        for term in tl.static_range(TERMS):
            value += slopes[term]
        store_map(gradient, gradient_strides, image, row, column, value, inside)
        before = between
        between = now
        top = middle
        middle = bottom


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, max_depth: float | None, options: Options
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums and counts of the three terms, (3,B) each, and normalisers, (B,)."""
    batch, terms = len(pred), 1 if labels is None else 2
    norm = normalisers(pred, target, mask, max_depth)
    p, (g, m, s) = fastest_axis_last(pred, target, mask, labels)
    height, width = p.shape[1:]
    strips = triton.cdiv(height, ROWS_OF_A_STRIP) * triton.cdiv(width, COLUMNS_OF_A_STRIP)
    partial_sums = tuple(pred.new_empty(batch, strips, dtype=norm.dtype) for _ in range(terms + 1))
    partial_counts = tuple(pred.new_empty(batch, strips, dtype=torch.int32) for _ in range(terms + 1))
    launch(
        _forward_kernel, batch * strips, pred, p, g, m, s, strides_of(p), strides_of(g), strides_of(m), strides_of(s),
        norm, partial_sums, partial_counts, height, width, options[-1], **_constants(options, norm, terms),
    )  # fmt: skip
    make = pred.new_empty if terms == 2 else pred.new_zeros
    sums, counts = make(3, batch, dtype=norm.dtype), make(3, batch, dtype=torch.int64)
    used = slice(0, terms + 1)
    fold((*partial_sums, *partial_counts), (*sums[used].unbind(), *counts[used].unbind()))
    return sums, counts, norm


def backward(
    scales: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, norm: Tensor,
    options: Options,
) -> Tensor:  # fmt: skip
    """The gradient to ``pred``, recomputed from the maps and written once."""
    gradient = pred.new_empty(pred.shape)
    p, (g, m, s, out) = fastest_axis_last(pred, target, mask, labels, gradient)
    height, width = p.shape[1:]
    strips = triton.cdiv(height, ROWS_OF_A_STRIP) * triton.cdiv(width, COLUMNS_OF_A_STRIP)
    launch(
        _backward_kernel, len(pred) * strips, pred, scales, scales.stride(), p, g, m, s,
        strides_of(p), strides_of(g), strides_of(m), strides_of(s), norm, out, strides_of(out),
        height, width, options[-1], DETACH_WEIGHT=options[3],
        **_constants(options, norm, 1 if labels is None else 2),
    )  # fmt: skip
    return gradient


def _constants(options: Options, norm: Tensor, terms: int) -> dict[str, Any]:
    distance, beta, log_offset, *_ = options
    return {
        **options_of(distance, beta, log_offset, norm.dtype),
        "TERMS": terms,
        "ROWS": ROWS_OF_A_STRIP,
        "COLUMNS": COLUMNS_OF_A_STRIP,
    }
