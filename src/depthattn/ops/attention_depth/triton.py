"""The depth side of the attention-driven loss as Triton kernels: one pass over the maps forward, one backward.

The walk is that of the joint gradient loss, down a strip of rows that stay in registers; the depth-aware loss of a
pixel is taken where the walk meets it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.attention_depth import AttentionDepthOptions
from depthattn.ops.depth_aware.triton import load_state, loss_of_pixels, options_of, state_of
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
from depthattn.ops.triton_utils import fastest_axis_last, fold, launch, locate, scaled, store_map, strides_of


@triton.jit
def _forward_kernel(
    pred, target, mask, labels, pred_strides, target_strides, mask_strides, labels_strides,
    state, state_stride, sums, counts, height, width, ignore_index,
    DISTANCE: tl.constexpr, LOG_OFFSET: tl.constexpr,
    WIDE: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height, width, ROWS, COLUMNS)
    over_m, knee = load_state(state, state_stride, image)
    total = tl.zeros([COLUMNS], WIDE)
    counted = tl.zeros([COLUMNS], tl.int32)
    top, middle, totals, windows = start_of_sums(labels, TERMS, COLUMNS, WIDE)
    for r in range(ROWS + 2):
        row = first + r
        own = inside_image(tl.where(r < ROWS, row, -1), column, height, width)
        value, _slope, valid = loss_of_pixels(
            pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, own, over_m, knee,
            DISTANCE, LOG_OFFSET, True, WIDE,
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
    scales, scale_strides, pred, target, mask, labels, pred_strides, target_strides, mask_strides, labels_strides,
    state, state_stride, gradient, gradient_strides, height, width, ignore_index,
    DISTANCE: tl.constexpr, LOG_OFFSET: tl.constexpr, DETACH_WEIGHT: tl.constexpr,
    WIDE: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height, width, ROWS, COLUMNS)
    over_m, knee = load_state(state, state_stride, image)
    scales += image * scale_strides[1]
    top, middle, before, between = start_of_slopes(labels, TERMS, COLUMNS, WIDE)
    for r in range(ROWS + 4):
        pixels = load_pixels(
            pred, target, mask, labels, pred_strides, target_strides, mask_strides, labels_strides,
            image, first + (r - 2), column - 2, height, width, ignore_index, 5, WIDE, labels is not None,
        )  # fmt: skip
        # Two rows of pixels complete a window and two rows of windows a pixel.
        row = first + (r - 4)
        inside = inside_image(tl.where(r >= 4, row, -1), column, height, width)
        _value, slope, _valid = loss_of_pixels(
            pred, target, mask, pred_strides, target_strides, mask_strides, image, row, column, inside, over_m, knee,
            DISTANCE, LOG_OFFSET, DETACH_WEIGHT, WIDE,
        )  # fmt: skip
        bottom, now, slopes = gather_slopes(pixels, top, middle, before, between, TERMS, labels is not None)
        value = scaled(slope, tl.load(scales))
        for term in tl.static_range(TERMS):
            value += scaled(slopes[term], tl.load(scales + (term + 1) * scale_strides[0]))
        store_map(gradient, gradient_strides, image, row, column, value, inside)
        before = between
        between = now
        top = middle
        middle = bottom


def keeps_gradient(*_: object) -> bool:
    """Writing the gradient twice would cost more than computing it again."""
    return False


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, weights: Tensor,
    options: AttentionDepthOptions, scales_for: object,
) -> tuple[Tensor, Tensor, Tensor, None]:  # fmt: skip
    """Sums and counts (T,B) and the state; the gradient is always left to :func:`backward`."""
    batch, terms = len(pred), 2 if labels is None else 3
    state = state_of(pred, target, mask, options)
    p, (g, m, s) = fastest_axis_last(pred, target, mask, labels)
    height, width = p.shape[1:]
    strips = triton.cdiv(height, ROWS_OF_A_STRIP) * triton.cdiv(width, COLUMNS_OF_A_STRIP)
    partial_sums = tuple(pred.new_empty(batch, strips, dtype=state.dtype) for _ in range(terms))
    partial_counts = tuple(pred.new_empty(batch, strips, dtype=torch.int32) for _ in range(terms))
    launch(
        _forward_kernel, batch * strips, pred, p, g, m, s, strides_of(p), strides_of(g), strides_of(m), strides_of(s),
        state, state.stride(0), partial_sums, partial_counts, height, width, options.ignore_index,
        **_constants(options, state, labels),
    )  # fmt: skip
    sums, counts = pred.new_empty(terms, batch, dtype=torch.float64), pred.new_empty(terms, batch, dtype=torch.int64)
    fold((*partial_sums, *partial_counts), (*sums, *counts))
    return sums, counts, state, None


def backward(
    scales: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, weights: Tensor,
    state: Tensor, options: AttentionDepthOptions, wanted: Sequence[bool],
) -> list[Tensor]:  # fmt: skip
    """The gradient to ``pred``, recomputed from the maps and written once."""
    gradient = pred.new_empty(pred.shape)
    p, (g, m, s, out) = fastest_axis_last(pred, target, mask, labels, gradient)
    height, width = p.shape[1:]
    strips = triton.cdiv(height, ROWS_OF_A_STRIP) * triton.cdiv(width, COLUMNS_OF_A_STRIP)
    launch(
        _backward_kernel, len(pred) * strips, pred, scales, scales.stride(), p, g, m, s,
        strides_of(p), strides_of(g), strides_of(m), strides_of(s), state, state.stride(0), out, strides_of(out),
        height, width, options.ignore_index, DETACH_WEIGHT=options.detach_weight, **_constants(options, state, labels),
    )  # fmt: skip
    return [gradient]


def _constants(options: AttentionDepthOptions, state: Tensor, labels: Tensor | None) -> dict[str, Any]:
    return {
        **options_of(options, state.dtype),
        "TERMS": 1 if labels is None else 2,
        "ROWS": ROWS_OF_A_STRIP,
        "COLUMNS": COLUMNS_OF_A_STRIP,
    }
