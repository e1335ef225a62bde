"""The entry points that the library of C++ kernels has for its tests, on every instruction set that runs here."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from depthattn.ops import native
from depthattn.ops.native import View, view

FUNCTIONS = ("convert", "exp", "log", "log1p", "exp_of_negative", "log1p_of_positive")


class _Arguments(ctypes.Structure):
    _fields_ = (("source", View), ("target", View), ("count", ctypes.c_int64), ("function", ctypes.c_int64))


def usable() -> tuple[str, ...]:
    """The instruction sets that the library has and this processor runs; the floor alone where there is no library."""
    library = native.load()
    return native.INSTRUCTION_SETS[:1] if isinstance(library, str) else library.usable


def call(function: str, x: Tensor, dtype: torch.dtype, instructions: str, *, stride: int = 1) -> Tensor:
    """``function`` of a vector, in double where the argument or the result is; the result is written with a stride."""
    result = torch.empty(len(x) * stride, dtype=dtype)[::stride]
    arguments = _Arguments(view(x), view(result), len(x), FUNCTIONS.index(function))
    kernel = getattr(native.library().handle, f"checks_{instructions}")
    kernel.argtypes = (ctypes.c_void_p, ctypes.c_int32)
    assert kernel(ctypes.addressof(arguments), torch.float64 in (x.dtype, dtype)) == 0
    return result
