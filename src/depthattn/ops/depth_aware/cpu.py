"""The depth-aware loss by its C++ kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from depthattn.ops.depth_aware import DepthAwareOptions
from depthattn.ops.masking import compute_dtype
from depthattn.ops.native import View, in_large_pages, keeps_gradient, library, view

DISTANCES = {"smooth_l1": 0, "l1": 1, "l2": 2, "berhu": 3}


class Options(ctypes.Structure):
    _fields_ = (("distance", ctypes.c_int64), ("log_offset", ctypes.c_double), ("detach_weight", ctypes.c_int64))

    @classmethod
    def of(cls, options: Any) -> Options:
        return cls(DISTANCES[options.distance], options.log_offset, options.detach_weight)


class _Arguments(ctypes.Structure):
    _fields_ = (
        *((name, View) for name in ("pred", "target", "mask")),
        *((name, ctypes.c_int64) for name in ("batch", "height", "width")),
        ("options", Options),
        *((name, View) for name in ("state", "scales", "gradient")),
        *((name, ctypes.c_void_p) for name in ("sums", "counts")),
    )


class _StateArguments(ctypes.Structure):
    _fields_ = (
        *((name, View) for name in ("pred", "target", "mask")),
        *((name, ctypes.c_int64) for name in ("batch", "height", "width")),
        *((name, ctypes.c_double) for name in ("max_depth", "knee")),
        ("state", ctypes.c_void_p),
    )


def state_of(pred: Tensor, target: Tensor, mask: Tensor | None, options: Any) -> Tensor:
    """(2,B): what normalises the target of each image, and the error at which the distance turns."""
    dtype = compute_dtype(pred, target)
    state = pred.new_empty(2, pred.shape[0], dtype=dtype)
    arguments = _StateArguments(
        view(pred), view(target), view(mask), *pred.shape, options.max_depth or 0,
        0 if options.distance == "berhu" else options.beta, state.data_ptr(),
    )  # fmt: skip
    library().run("depth_aware_state", arguments, wide=dtype == torch.float64)
    return state


def forward(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None,
    options: DepthAwareOptions,
    scales_for: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Sums and valid pixels (1,B), the state, and the unscaled gradient if it is asked for."""
    state = state_of(pred, target, mask, options)
    gradient = in_large_pages(pred.new_empty(pred.shape)) if scales_for is not None and keeps_gradient(pred) else None
    sums, counts = _run(None, pred, target, mask, state, options, gradient)
    return sums, counts, state, gradient


def backward(
    scales: Tensor,
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None,
    state: Tensor,
    options: DepthAwareOptions,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """The gradient to ``pred``, computed from the maps."""
    gradient = in_large_pages(pred.new_empty(pred.shape))
    _run(scales[0], pred, target, mask, state, options, gradient)
    return [gradient]


def _run(
    scales: Tensor | None, pred: Tensor, target: Tensor, mask: Tensor | None, state: Tensor,
    options: DepthAwareOptions, gradient: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    batch = pred.shape[0]
    sums, counts = pred.new_empty(1, batch, dtype=torch.float64), pred.new_empty(1, batch, dtype=torch.int64)
    arguments = _Arguments(
        view(pred), view(target), view(mask), *pred.shape, Options.of(options), view(state),
        view(scales), view(gradient), sums.data_ptr(), counts.data_ptr(),
    )  # fmt: skip
    library().run("depth_aware", arguments, wide=compute_dtype(pred, target) == torch.float64)
    return sums, counts
