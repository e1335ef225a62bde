"""The library of C++ kernels: found, checked and loaded at the first call that wants it."""

from __future__ import annotations

import ctypes
import functools
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

FOLDER = Path(__file__).parent
# Written by setup.py beside the library, or in its place.
RECORD = FOLDER / "build.json"
LIBRARY = FOLDER / {"win32": "kernels.dll", "darwin": "kernels.dylib"}.get(sys.platform, "kernels.so")

ABI = 1
# In the order of the numbers that the library knows them by.
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
FORCE = "DEPTHATTN_ISA"

_DTYPES = {
    dtype: code
    for code, dtype in enumerate(
        (
            torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16,
            torch.int32, torch.int64, torch.bool, torch.uint16, torch.uint32, torch.uint64,
        )
    )
}  # fmt: skip


class View(ctypes.Structure):
    """A tensor of up to four axes; strides count elements. Without data: an absent one."""

    _fields_ = (("data", ctypes.c_void_p), ("dtype", ctypes.c_int64), ("strides", ctypes.c_int64 * 4))


def view(tensor: Tensor | None) -> View:
    if tensor is None:
        return View()
    return View(tensor.data_ptr(), _DTYPES[tensor.dtype], tensor.stride())


class Library:
    """The loaded library: its kernels for the instruction set in use."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(os.fspath(path))
        self._library.depthattn_abi.restype = ctypes.c_int64
        abi = self._library.depthattn_abi()
        if abi != ABI:
            raise OSError(f"{path.name} has interface {abi}, and this package speaks {ABI}: install it again")
        self.instruction_set = self._choose()
        self.threads = self._use_torch_threads()
        self._kernels: dict[str, Any] = {}

    def _choose(self) -> str:
        usable = [
            name
            for level, name in enumerate(INSTRUCTION_SETS)
            if self._library.depthattn_runs(level) and hasattr(self._library, f"depth_aware_{name}")
        ]
        forced = os.environ.get(FORCE)
        if not forced:
            return usable[-1]
        if forced not in usable:
            raise OSError(f"{FORCE} expected one of {', '.join(usable)} on this processor, got {forced!r}")
        return forced

    def _use_torch_threads(self) -> str:
        """Hand over the parallel loop of PyTorch, so that work runs on its threads and obeys torch.set_num_threads."""
        name = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(sys.platform, "libtorch_cpu.so")
        try:
            address = ctypes.CDLL(os.fspath(Path(torch.__file__).parent / "lib" / name)).torch_parallel_for
        except (OSError, AttributeError):
            return f"1 (PyTorch {torch.__version__} does not export torch_parallel_for, 2.10 and newer do)"
        self._library.depthattn_use_threads(address)
        return "those of PyTorch"

    def run(self, kernel: str, arguments: ctypes.Structure, *, wide: bool) -> int:
        """Call ``kernel`` of the instruction set in use, in double arithmetic if ``wide``; returns its status."""
        function = self._kernels.get(kernel)
        if function is None:
            function = getattr(self._library, f"{kernel}_{self.instruction_set}")
            function.argtypes = (ctypes.c_void_p, ctypes.c_int32)
            self._kernels[kernel] = function
        status: int = function(ctypes.addressof(arguments), wide)
        if status == 1:
            raise MemoryError(f"depthattn: {kernel} found no memory for its partial sums")
        return status


@functools.cache
def load() -> Library | str:
    """The library, or why there is none."""
    if not LIBRARY.exists():
        return _recorded_failure()
    try:
        return Library(LIBRARY)
    except OSError as error:
        return " ".join(str(error).split())


def _recorded_failure() -> str:
    try:
        reason = json.loads(RECORD.read_text(encoding="utf-8"))["failure"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"the package was installed without its C++ kernels for {platform.machine()}"
    return f"the C++ kernels were not built: {reason}"


def library() -> Library:
    """The library, where :func:`load` has found one."""
    found = load()
    if isinstance(found, str):
        raise ValueError(f"use_backend('cpu'): expected the C++ kernels, got none: {found}")
    return found
