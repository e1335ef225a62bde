"""Lateral sharing by its C++ kernels: one pass forward, one backward."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.native import View, dtype_code, in_large_pages, library, view

_MOST_TASKS = 256


class _Arguments(ctypes.Structure):
    _fields_ = (
        ("gates", View),
        *((name, ctypes.c_int64) for name in ("tasks", "channels", "dtype", "axes", "channel_axis")),
        *((name, ctypes.c_void_p) for name in ("data", "sizes", "strides", "to_gates")),
    )


def forward(features: list[Tensor], gates: Tensor) -> list[Tensor]:
    """The T mixed features, each laid out as ``torch.empty_like`` of its own."""
    outputs = [in_large_pages(torch.empty_like(x)) for x in features]
    _run(gates, [*outputs, *features], None)
    return outputs


def backward(grads: list[Tensor], features: list[Tensor], gates: Tensor) -> tuple[list[Tensor], Tensor]:
    """The gradients of the features and of the gates."""
    to_features = [in_large_pages(torch.empty_like(x)) for x in features]
    to_gates = gates.new_zeros(gates.shape, dtype=torch.float64)
    _run(gates, [*to_features, *grads, *features], to_gates)
    return to_features, to_gates.to(gates.dtype)


def _run(gates: Tensor, maps: list[Tensor], to_gates: Tensor | None) -> None:
    first, tasks = maps[0], len(gates)
    if tasks > _MOST_TASKS:
        raise ValueError(f"lateral_sharing: expected at most {_MOST_TASKS} tasks on the CPU, got {tasks}")
    if first.numel() == 0:
        return
    channels = gates.shape[2] if gates.ndim == 3 else 1
    sizes, strides, channel_axis = joined_axes(maps, keep=1 if channels > 1 else None)
    arrays = (
        (ctypes.c_void_p * len(maps))(*(x.data_ptr() for x in maps)),
        (ctypes.c_int64 * len(sizes))(*sizes),
        (ctypes.c_int64 * (len(sizes) * len(maps)))(*(step for row in strides for step in row)),
    )
    arguments = _Arguments(
        view(gates), tasks, channels, dtype_code(first), len(sizes), channel_axis,
        *(ctypes.addressof(array) for array in arrays), None if to_gates is None else to_gates.data_ptr(),
    )  # fmt: skip
    kernel = "lateral_sharing" if to_gates is None else "lateral_sharing_backward"
    library().run(kernel, arguments, wide=compute_dtype(first, gates) == torch.float64)


def joined_axes(maps: Sequence[Tensor], keep: int | None) -> tuple[list[int], list[list[int]], int]:
    """The axes of tensors of one shape in the order of memory, joined where all layouts allow it.

    Args:
        maps: the tensors; the first one says the order.
        keep: an axis that stays by itself.

    Returns:
        Sizes from the slowest axis to the fastest, for each tensor its strides, and where ``keep`` stands, or -1.
    """
    shape, strides = maps[0].shape, [x.stride() for x in maps]
    order = sorted((axis for axis in range(len(shape)) if shape[axis] > 1), key=strides[0].__getitem__)
    sizes: list[int] = []
    columns: list[list[int]] = []
    kept = -1
    for axis in order:
        size, steps = shape[axis], [stride[axis] for stride in strides]
        joins = columns and kept != len(columns) - 1 and axis != keep
        if joins and all(step == sizes[-1] * inner for step, inner in zip(steps, columns[-1], strict=True)):
            sizes[-1] *= size
            continue
        if axis == keep:
            kept = len(columns)
        sizes.append(size)
        columns.append(steps)
    if not sizes:
        sizes, columns = [1], [[1] * len(maps)]
    rows = [list(row) for row in zip(*columns[::-1], strict=True)]
    return sizes[::-1], rows, len(sizes) - 1 - kept if kept >= 0 else -1
