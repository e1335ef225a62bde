"""The semantic focal loss by its C++ kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.native import View, in_large_pages, keeps_gradient, library, view
from depthattn.ops.semantic_focal import SemanticFocalOptions, reference
from depthattn.ops.semantic_focal.labels import refuse


class Options(ctypes.Structure):
    _fields_ = (("gamma", ctypes.c_double), ("ignore_index", ctypes.c_int64), ("by_weight", ctypes.c_int64))

    @classmethod
    def of(cls, options: Any) -> Options:
        return cls(options.gamma, options.ignore_index, options.normalize_by == "weight")


class _Arguments(ctypes.Structure):
    _fields_ = (
        *((name, View) for name in ("logits", "target", "weight")),
        *((name, ctypes.c_int64) for name in ("batch", "classes", "pixels")),
        ("options", Options),
        *((name, View) for name in ("scales", "gradient")),
        *((name, ctypes.c_void_p) for name in ("sums", "counts", "wrong")),
    )


def forward(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    options: SemanticFocalOptions,
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
    options: SemanticFocalOptions,
    wanted: Sequence[bool],
) -> list[Tensor]:
    """The gradient to ``logits``, computed from them."""
    gradient = in_large_pages(logits.new_empty(logits.shape))
    _run(scales[0], logits, target, weight, options, gradient)
    return [gradient]


def _run(
    scales: Tensor | None, logits: Tensor, target: Tensor, weight: Tensor | None, options: SemanticFocalOptions,
    gradient: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    def call(sums: Tensor, counts: Tensor, wrong: int) -> None:
        arguments = _Arguments(
            view(logits), view(target), view(weight), *logits.shape, Options.of(options), view(scales), view(gradient),
            sums.data_ptr(), counts.data_ptr(), wrong,
        )  # fmt: skip
        library().run("semantic_focal", arguments, wide=compute_dtype(logits) == torch.float64)

    return sums_of(call, logits, options)


def sums_of(call: Callable[[Tensor, Tensor, int], None], logits: Tensor, options: Any) -> tuple[Tensor, Tensor]:
    """What a kernel writes into sums and counts, (1,B); a label that it reports as wrong raises."""
    sums, counts = logits.new_empty(2, 1, logits.shape[0], dtype=torch.float64)
    wrong = (ctypes.c_int64 * 2)()
    call(sums, counts, ctypes.addressof(wrong))
    if wrong[0]:
        refuse(wrong[1], logits.shape[1], options.ignore_index)
    return sums, counts
