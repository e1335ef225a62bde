"""The joint gradient loss by its C++ kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from depthattn.ops.joint_gradient import JointGradientOptions, dtype_of
from depthattn.ops.native import View, in_large_pages, keeps_gradient, library, view


class Maps(ctypes.Structure):
    """What the walk reads; ``semantics`` are labels or a float map."""

    _fields_ = (
        *((name, View) for name in ("pred", "target", "mask", "semantics")),
        *((name, ctypes.c_int64) for name in ("terms", "batch", "height", "width", "ignore_index")),
    )

    @classmethod
    def of(cls, pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None, ignore_index: int) -> Maps:
        terms = 1 if semantics is None else 2
        return cls(view(pred), view(target), view(mask), view(semantics), terms, *pred.shape, ignore_index)


class _Arguments(ctypes.Structure):
    _fields_ = (
        ("maps", Maps),
        ("skip_depth", ctypes.c_int64),
        *((name, View) for name in ("scales", "gradient")),
        *((name, ctypes.c_void_p) for name in ("sums", "counts")),
    )


class _CountArguments(ctypes.Structure):
    _fields_ = (("maps", Maps), ("counts", ctypes.c_void_p))


def counts_of(maps: Maps, target: Tensor, *, wide: bool) -> Tensor:
    """Valid pixels and windows of both terms of each image, (3,B); they do not depend on the prediction."""
    counts = target.new_empty(3, target.shape[0], dtype=torch.int64)
    library().run("joint_gradient_count", _CountArguments(maps, counts.data_ptr()), wide=wide)
    return counts


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, semantics: Tensor | None,
    options: JointGradientOptions, scales_for: Callable[[Tensor], Tensor] | None,
) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:  # fmt: skip
    """Sums and windows (T,B), no state, and the gradient if it is asked for: scaled where it is that of two terms."""
    maps = Maps.of(pred, target, mask, semantics if labels is None else labels, options.ignore_index)
    wide = dtype_of(pred, target, mask, labels, semantics) == torch.float64
    gradient = scales = None
    if scales_for is not None and keeps_gradient(pred):
        gradient = in_large_pages(pred.new_empty(pred.shape))
        scales = None if maps.terms == 1 else scales_for(counts_of(maps, target, wide=wide)[1:])
    sums, counts = _run(maps, scales, gradient, pred, wide=wide)
    return sums, counts, pred.new_empty(0), gradient


def backward(
    scales: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None,
    semantics: Tensor | None, state: Tensor, options: JointGradientOptions, wanted: Sequence[bool],
) -> list[Tensor]:  # fmt: skip
    """The gradients to ``pred`` and ``semantics``, those of them that are wanted, computed from the maps."""
    maps = Maps.of(pred, target, mask, semantics if labels is None else labels, options.ignore_index)
    wide = dtype_of(pred, target, mask, labels, semantics) == torch.float64
    gradients = []
    if wanted[0]:
        gradients.append(in_large_pages(pred.new_empty(pred.shape)))
        _run(maps, scales, gradients[-1], pred, wide=wide)
    if wanted[1] and semantics is not None:
        # The semantic map sees the semantic term alone, from the other side.
        gradients.append(in_large_pages(semantics.new_empty(semantics.shape)))
        _run(maps, -scales, gradients[-1], pred, wide=wide, skip_depth=True)
    return gradients


def _run(
    maps: Maps, scales: Tensor | None, gradient: Tensor | None, like: Tensor, *, wide: bool,
    skip_depth: bool = False,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    shape = maps.terms, maps.batch
    sums, counts = like.new_empty(shape, dtype=torch.float64), like.new_empty(shape, dtype=torch.int64)
    # Row by row, as the kernel finds a scale by its number.
    factors = None if scales is None else scales.reshape(-1)
    arguments = _Arguments(maps, skip_depth, view(factors), view(gradient), sums.data_ptr(), counts.data_ptr())
    library().run("joint_gradient", arguments, wide=wide)
    return sums, counts
