"""The semi-dense up-skip by its C++ kernels: all levels in one pass, forward and backward."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from depthattn.ops.native import View, in_large_pages, library, view


class _Arguments(ctypes.Structure):
    _fields_ = (
        ("map", View),
        *((name, ctypes.c_void_p) for name in ("levels", "sizes")),
        *((name, ctypes.c_int64) for name in ("count", "mode", "batch", "channels", "height", "width")),
    )


def _run(kernel: str, whole: Tensor, levels: list[Tensor], mode: str, align_corners: bool) -> None:
    if whole.numel() == 0:
        return
    views = (View * len(levels))(*(view(x) for x in levels))
    sizes = (ctypes.c_int64 * (2 * len(levels)))(*(side for x in levels for side in x.shape[2:]))
    grid = 0 if mode == "nearest" else 2 if align_corners else 1
    arguments = _Arguments(
        view(whole), ctypes.addressof(views), ctypes.addressof(sizes), len(levels), grid, *whole.shape
    )  # fmt: skip
    library().run(kernel, arguments, wide=whole.dtype == torch.float64)


def forward(features: list[Tensor], height: int, width: int, mode: str, align_corners: bool) -> Tensor:
    """The sum of the resized levels, contiguous."""
    merged = in_large_pages(features[0].new_empty(*features[0].shape[:2], height, width))
    _run("semi_dense_up_skip", merged, features, mode, align_corners)
    return merged


def backward(grad: Tensor, heights: list[int], widths: list[int], mode: str, align_corners: bool) -> list[Tensor]:
    """The gradient of each level, contiguous."""
    grads = [in_large_pages(grad.new_empty(*grad.shape[:2], h, w)) for h, w in zip(heights, widths, strict=True)]
    _run("semi_dense_up_skip_backward", grad, grads, mode, align_corners)
    return grads
