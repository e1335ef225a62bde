"""The semantic focal loss on resized logits by its C++ kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.native import View, in_large_pages, keeps_gradient, library, view
from depthattn.ops.semantic_focal.cpu import Options, sums_of
from depthattn.ops.semantic_focal_upsample import SemanticFocalUpsampleOptions, reference

__all__ = ["backward", "forward", "keeps_gradient"]


class _Arguments(ctypes.Structure):
    _fields_ = (
        *((name, View) for name in ("logits", "target", "weight")),
        *((name, ctypes.c_int64) for name in ("batch", "classes", "height", "width")),
        *((name, ctypes.c_int64) for name in ("target_height", "target_width", "align_corners")),
        ("options", Options),
        *((name, View) for name in ("scales", "gradient")),
        *((name, ctypes.c_void_p) for name in ("sums", "counts", "wrong")),
    )


def forward(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: SemanticFocalUpsampleOptions,
    scales_for: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """Sums and what they are divided by, (1,B), no state, and the unscaled gradient if it is asked for."""
    gradient = (
        in_large_pages(logits.new_empty(logits.shape)) if scales_for is not None and keeps_gradient(logits) else None
    )
    sums, counts = _run(None, logits, target, weight, options, gradient)
    return sums, counts, reference.state(logits, target, weight, options), gradient


def backward(
    scales: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    state: Tensor,
    options: SemanticFocalUpsampleOptions,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """The gradient to ``logits``, computed from them."""
    # A logit's gradient is gathered from many pixels, in the dtype of the arithmetic.
    gradient = in_large_pages(logits.new_empty(logits.shape, dtype=compute_dtype(logits)))
    _run(scales[0], logits, target, weight, options, gradient)
    return [gradient.to(logits.dtype)]


def _run(
    scales: Tensor | None, logits: Tensor, target: Tensor, weight: Tensor | None,
    options: SemanticFocalUpsampleOptions, gradient: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    def call(sums: Tensor, counts: Tensor, wrong: int) -> None:
        arguments = _Arguments(
            view(logits), view(target), view(weight), *logits.shape, *target.shape[1:], options.align_corners,
            Options.of(options), view(scales), view(gradient), sums.data_ptr(), counts.data_ptr(), wrong,
        )  # fmt: skip
        library().run("semantic_focal_upsample", arguments, wide=compute_dtype(logits) == torch.float64)

    return sums_of(call, logits, options)
