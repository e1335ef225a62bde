"""The depth side of the attention-driven loss by its C++ kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from depthattn.ops.attention_depth import AttentionDepthOptions
from depthattn.ops.depth_aware.cpu import Options, state_of
from depthattn.ops.joint_gradient.cpu import Maps, counts_of
from depthattn.ops.masking import compute_dtype
from depthattn.ops.native import View, in_large_pages, keeps_gradient, library, view

__all__ = ["backward", "forward", "keeps_gradient"]


class _Arguments(ctypes.Structure):
    _fields_ = (
        ("maps", Maps),
        ("options", Options),
        *((name, View) for name in ("state", "scales", "gradient")),
        *((name, ctypes.c_void_p) for name in ("sums", "counts")),
    )


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, weights: Tensor,
    options: AttentionDepthOptions, scales_for: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:  # fmt: skip
    """Sums and counts (T,B), the state, and the gradient of the scaled sums if it is asked for."""
    maps = Maps.of(pred, target, mask, labels, options.ignore_index)
    state = state_of(pred, target, mask, options)
    gradient = scales = None
    if scales_for is not None and keeps_gradient(pred):
        gradient = in_large_pages(pred.new_empty(pred.shape))
        wide = compute_dtype(pred, target) == torch.float64
        scales = scales_for(counts_of(maps, target, wide=wide)[: 1 + maps.terms])
    sums, counts = _run(maps, scales, state, options, pred, gradient)
    return sums, counts, state, gradient


def backward(
    scales: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, weights: Tensor,
    state: Tensor, options: AttentionDepthOptions, wanted: Sequence[bool],
) -> list[Tensor]:  # fmt: skip
    """The gradient to ``pred``, computed from the maps."""
    gradient = in_large_pages(pred.new_empty(pred.shape))
    _run(Maps.of(pred, target, mask, labels, options.ignore_index), scales, state, options, pred, gradient)
    return [gradient]


def _run(
    maps: Maps, scales: Tensor | None, state: Tensor, options: AttentionDepthOptions, like: Tensor,
    gradient: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    shape = 1 + maps.terms, maps.batch
    sums, counts = like.new_empty(shape, dtype=torch.float64), like.new_empty(shape, dtype=torch.int64)
    # Row by row, as the kernel finds a scale by its number.
    factors = None if scales is None else scales.reshape(-1)
    arguments = _Arguments(
        maps, Options.of(options), view(state), view(factors), view(gradient),
        sums.data_ptr(), counts.data_ptr(),
    )  # fmt: skip
    library().run("attention_depth", arguments, wide=state.dtype == torch.float64)
    return sums, counts
