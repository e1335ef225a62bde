"""What the Triton kernels share: how they are launched, and how partial results become one number per image."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

# A fold reads a few thousand numbers per image at most: one block of four warps is in flight per image.
_FOLD = 1024


def wide_type(dtype: torch.dtype) -> tl.dtype:
    """The Triton name of a dtype of arithmetic, float32 or float64."""
    return tl.float64 if dtype == torch.float64 else tl.float32


def index_type(largest: int) -> tl.dtype:
    """int32 for indices up to ``largest`` where it can hold them: wide divisions cost several times as much."""
    return tl.int32 if largest < 2**31 else tl.int64


def launch(kernel: Any, programs: int, like: Tensor, *arguments: Any, num_warps: int = 4, **constants: Any) -> None:
    """Run ``kernel`` on the device of ``like``, on the current stream.

    The programs form one axis, because the others end at 65535. Fused multiply-add is asked for by name: its
    default differs between releases of Triton.
    """
    with torch.cuda.device(like.device) if like.is_cuda else nullcontext():
        kernel[(programs,)](*arguments, num_warps=num_warps, enable_fp_fusion=True, **constants)


def fastest_axis_last(first: Tensor, *others: Tensor | None) -> tuple[Tensor, list[Tensor | None]]:
    """Views of maps (B,H,W), rows and columns exchanged in all of them where the first has its columns far apart.

    Neighbouring threads take neighbouring columns, which should be neighbours in memory.
    """
    if first.stride(1) >= first.stride(2):
        return first, list(others)
    return first.transpose(1, 2), [m if m is None else m.transpose(1, 2) for m in others]


def strides_of(view: Tensor | None) -> tuple[int, ...] | None:
    return None if view is None else view.stride()


@triton.jit
def locate(rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """The image of this program, and the first row and the columns of its tile, 64 bits wide."""
    across = tl.cdiv(columns, COLUMNS)
    tiles = tl.cdiv(rows, ROWS) * across
    program = tl.program_id(0).to(tl.int64)
    tile = program % tiles
    return program // tiles, (tile // across) * ROWS, (tile % across) * COLUMNS + tl.arange(0, COLUMNS)


@triton.jit
def load_map(pointer, strides, image, row, column, inside):
    """Pixels of a map (B,H,W), 0 where they are not ``inside``."""
    return tl.load(pointer + image * strides[0] + row * strides[1] + column * strides[2], mask=inside, other=0)


@triton.jit
def store_map(pointer, strides, image, row, column, value, inside):
    """Write the pixels that are ``inside`` in the dtype of the map."""
    address = pointer + image * strides[0] + row * strides[1] + column * strides[2]
    tl.store(address, value.to(pointer.dtype.element_ty), mask=inside)


@triton.jit
def load_target(target, mask, target_strides, mask_strides, image, row, column, inside, WIDE: tl.constexpr):
    """Depth and where it counts."""
    g = load_map(target, target_strides, image, row, column, inside).to(WIDE)
    valid = (g > 0) & (g < float("inf"))
    if mask is not None:
        valid = valid & (load_map(mask, mask_strides, image, row, column, inside) != 0)
    return g, valid


@triton.jit
def sign(x):
    """-1, 0 or 1; NaN stays NaN, so that divergence shows in the gradient."""
    return tl.where(x > 0, 1.0, tl.where(x < 0, -1.0, x))


@triton.jit
def scaled(slope, scale):
    """slope * scale, and 0 where nothing counts, also at an infinite scale."""
    return tl.where(slope != 0, slope * scale, 0.0)


@triton.jit
def log1p(x):
    """log(1 + x) for finite x >= 0, exact to the last bits also where 1 + x rounds x away."""
    shifted = 1.0 + x
    lost = shifted == 1.0
    return tl.where(lost, x, tl.log(shifted) * (x / tl.where(lost, 1.0, shifted - 1.0)))


@triton.jit
def _fold_kernel(partials, totals, blocks, MAXIMUM: tl.constexpr, BLOCK: tl.constexpr):
    image = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, BLOCK)
    for i in tl.static_range(len(partials)):
        row = partials[i] + image * blocks
        # Counts add up to more than 32 bits hold, and sums of millions of numbers to more than single precision.
        if partials[i].dtype.element_ty == tl.int32:
            total = tl.zeros([BLOCK], dtype=tl.int64)
        else:
            total = tl.zeros([BLOCK], dtype=tl.float64)
        for start in range(0, blocks, BLOCK):
            part = tl.load(row + start + lanes, mask=start + lanes < blocks, other=0).to(total.dtype)
            total = tl.maximum(total, part) if MAXIMUM else total + part
        result = tl.max(total) if MAXIMUM else tl.sum(total)
        if totals[i].dtype.element_ty == tl.bfloat16:
            # From there alone the interpreter converts to bfloat16.
            result = result.to(tl.float32)
        tl.store(totals[i] + image, result.to(totals[i].dtype.element_ty))


def fold(partials: Sequence[Tensor], totals: Sequence[Tensor], *, maximum: bool = False) -> None:
    """Sum each of ``partials``, contiguous (B, blocks), into its (B,) of ``totals``, or take maxima, at least 0.

    The order of the additions depends on the shapes alone, so the result is the same in every run.
    """
    images, blocks = partials[0].shape
    launch(
        _fold_kernel, images, totals[0], tuple(partials), tuple(totals), blocks, MAXIMUM=maximum, BLOCK=_FOLD
    )  # fmt: skip
