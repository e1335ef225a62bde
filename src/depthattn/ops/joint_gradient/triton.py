"""The joint gradient loss as Triton kernels: both terms in one pass over the maps, forward and backward.

A program walks down a strip of rows. The backward pass gathers: a pixel adds up the windows around it, whose signs it
works out anew, and no two programs write to one place.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.joint_gradient import sums_dtype
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
from depthattn.ops.triton_utils import fastest_axis_last, fold, launch, locate, store_map, strides_of, wide_type


@triton.jit
def _forward_kernel(
    pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
    sums, counts, height, width, ignore_index,
    WIDE: tl.constexpr, LABELS: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height - 2, width - 2, ROWS, COLUMNS)
    top, middle, totals, windows = start_of_sums(semantics, TERMS, COLUMNS, WIDE)
    for r in range(ROWS + 2):
        pixels = load_pixels(
            pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
            image, first + r, column, height, width, ignore_index, 3, WIDE, LABELS,
        )  # fmt: skip
        bottom, totals, windows = add_windows(pixels, top, middle, totals, windows, TERMS, LABELS)
        top = middle
        middle = bottom
    program = tl.program_id(0).to(tl.int64)
    for term in tl.static_range(TERMS):
        tl.store(sums[term] + program, tl.sum(totals[term]))
        tl.store(counts[term] + program, tl.sum(windows[term]))


@triton.jit
def _backward_kernel(
    depth_scale, semantic_scale, scale_strides, pred, target, mask, semantics,
    pred_strides, target_strides, mask_strides, semantics_strides,
    to_pred, to_semantics, to_pred_strides, to_semantics_strides, height, width, ignore_index,
    WIDE: tl.constexpr, LABELS: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height, width, ROWS, COLUMNS)
    scales = (tl.load(depth_scale + image * scale_strides[0]), tl.load(semantic_scale + image * scale_strides[1]))
    top, middle, before, between = start_of_slopes(semantics, TERMS, COLUMNS, WIDE)
    for r in range(ROWS + 4):
        pixels = load_pixels(
            pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
            image, first + (r - 2), column - 2, height, width, ignore_index, 5, WIDE, LABELS,
        )  # fmt: skip
        bottom, now, slopes = gather_slopes(pixels, top, middle, before, between, scales, TERMS, LABELS)
        # Two rows of pixels complete a window and two rows of windows a pixel.
        row = first + (r - 4)
        inside = inside_image(tl.where(r >= 4, row, -1), column, height, width)
        gradient = slopes[0]
        if TERMS == 2:
            gradient += slopes[1]
            if to_semantics is not None:
                store_map(to_semantics, to_semantics_strides, image, row, column, -slopes[1], inside)
        store_map(to_pred, to_pred_strides, image, row, column, gradient, inside)
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
