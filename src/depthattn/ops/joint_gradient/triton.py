"""The joint gradient loss as Triton kernels: both terms in one pass over the maps, forward and backward.

A program walks down a strip of rows. The backward pass gathers: a pixel adds up the windows around it, whose signs it
works out anew, and no two programs write to one place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.joint_gradient import JointGradientOptions, dtype_of
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
from depthattn.ops.triton_utils import fastest_axis_last, fold, launch, locate, scaled, store_map, strides_of, wide_type


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
    scales, scale_strides, pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
    to_pred, to_semantics, to_pred_strides, to_semantics_strides, height, width, ignore_index,
    WIDE: tl.constexpr, LABELS: tl.constexpr, TERMS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image, first, column = locate(height, width, ROWS, COLUMNS)
    scales += image * scale_strides[1]
    top, middle, before, between = start_of_slopes(semantics, TERMS, COLUMNS, WIDE)
    for r in range(ROWS + 4):
        pixels = load_pixels(
            pred, target, mask, semantics, pred_strides, target_strides, mask_strides, semantics_strides,
            image, first + (r - 2), column - 2, height, width, ignore_index, 5, WIDE, LABELS,
        )  # fmt: skip
        bottom, now, slopes = gather_slopes(pixels, top, middle, before, between, TERMS, LABELS)
        # Two rows of pixels complete a window and two rows of windows a pixel.
        row = first + (r - 4)
        inside = inside_image(tl.where(r >= 4, row, -1), column, height, width)
        gradient = scaled(slopes[0], tl.load(scales))
        if TERMS == 2:
            semantic = scaled(slopes[1], tl.load(scales + scale_strides[0]))
            gradient += semantic
            if to_semantics is not None:
                store_map(to_semantics, to_semantics_strides, image, row, column, -semantic, inside)
        if to_pred is not None:
            store_map(to_pred, to_pred_strides, image, row, column, gradient, inside)
        before = between
        between = now
        top = middle
        middle = bottom


def keeps_gradient(*_: object) -> bool:
    """Writing the gradient twice would cost more than computing it again."""
    return False


def _constants(wide: torch.dtype, labels: Tensor | None, semantics: Tensor | None) -> dict[str, Any]:
    return {
        "WIDE": wide_type(wide),
        "LABELS": labels is not None,
        "TERMS": 1 if labels is None and semantics is None else 2,
        "ROWS": ROWS_OF_A_STRIP,
        "COLUMNS": COLUMNS_OF_A_STRIP,
    }


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, semantics: Tensor | None,
    options: JointGradientOptions, scales_for: object,
) -> tuple[Tensor, Tensor, Tensor, None]:  # fmt: skip
    """Sums and windows (T,B), no state; the gradient is always left to :func:`backward`."""
    batch, wide = pred.shape[0], dtype_of(pred, target, mask, labels, semantics)
    p, (g, m, s) = fastest_axis_last(pred, target, mask, semantics if labels is None else labels)
    height, width = p.shape[1:]
    strips = triton.cdiv(height - 2, ROWS_OF_A_STRIP) * triton.cdiv(width - 2, COLUMNS_OF_A_STRIP)
    constants = _constants(wide, labels, semantics)
    terms = constants["TERMS"]
    partial_sums = tuple(pred.new_empty(batch, strips, dtype=wide) for _ in range(terms))
    partial_counts = tuple(pred.new_empty(batch, strips, dtype=torch.int32) for _ in range(terms))
    launch(
        _forward_kernel, batch * strips, pred, p, g, m, s,
        strides_of(p), strides_of(g), strides_of(m), strides_of(s),
        partial_sums, partial_counts, height, width, options.ignore_index, **constants,
    )  # fmt: skip
    sums, counts = pred.new_empty(terms, batch, dtype=torch.float64), pred.new_empty(terms, batch, dtype=torch.int64)
    fold((*partial_sums, *partial_counts), (*sums, *counts))
    return sums, counts, pred.new_empty(0), None


def backward(
    scales: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None,
    semantics: Tensor | None, state: Tensor, options: JointGradientOptions, wanted: Sequence[bool],
) -> list[Tensor]:  # fmt: skip
    """The gradients to ``pred`` and ``semantics``, those of them that are wanted, recomputed from the maps."""
    to_pred = pred.new_empty(pred.shape) if wanted[0] else None
    to_semantics = semantics.new_empty(semantics.shape) if wanted[1] and semantics is not None else None
    maps = target, mask, semantics if labels is None else labels, to_pred, to_semantics
    p, (g, m, s, out, out_s) = fastest_axis_last(pred, *maps)
    height, width = p.shape[1:]
    strips = triton.cdiv(height, ROWS_OF_A_STRIP) * triton.cdiv(width, COLUMNS_OF_A_STRIP)
    launch(
        _backward_kernel, pred.shape[0] * strips, pred, scales, scales.stride(), p, g, m, s,
        strides_of(p), strides_of(g), strides_of(m), strides_of(s),
        out, out_s, strides_of(out), strides_of(out_s), height, width, options.ignore_index,
        **_constants(dtype_of(pred, target, mask, labels, semantics), labels, semantics),
    )  # fmt: skip
    return [gradient for gradient in (to_pred, to_semantics) if gradient is not None]
