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

ABI = 4
# In the order of the numbers that the library knows them by.
INSTRUCTION_SETS = ("baseline", "avx2", "avx512")
FORCE = "DEPTHATTN_ISA"

# Below it an allocator hands out memory that was used before, whose pages are there already.
_LARGE = 1 << 22

_DTYPES = {
    dtype: code
    for code, dtype in enumerate(
        (
            torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8, torch.int16,
            torch.int32, torch.int64, torch.bool, torch.uint16, torch.uint32, torch.uint64,
        )
    )
}  # fmt: skip


# How PyTorch before 2.10 can be asked for its threads: three functions of its OpenMP, and at::get_num_threads().
OPENMP = ("GOMP_parallel", "omp_get_thread_num", "omp_get_num_threads", "_ZN2at15get_num_threadsEv")


class View(ctypes.Structure):
    """A tensor of up to four axes; strides count elements. Without data: an absent one."""

    _fields_ = (("data", ctypes.c_void_p), ("dtype", ctypes.c_int64), ("strides", ctypes.c_int64 * 4))


def view(tensor: Tensor | None) -> View:
    if tensor is None:
        return View()
    return View(tensor.data_ptr(), _DTYPES[tensor.dtype], tensor.stride())


def dtype_code(tensor: Tensor) -> int:
    """The number by which the library knows the dtype of ``tensor``."""
    return _DTYPES[tensor.dtype]


def torch_library() -> Path:
    """Where PyTorch keeps its operators for the CPU."""
    name = {"win32": "torch_cpu.dll", "darwin": "libtorch_cpu.dylib"}.get(sys.platform, "libtorch_cpu.so")
    return Path(torch.__file__).parent / "lib" / name


def in_large_pages(memory: Tensor) -> Tensor:
    """Memory just allocated for what a kernel writes: in large pages, where it is large and the system has them."""
    if memory.nbytes >= _LARGE:
        library().large_pages(memory)
    return memory


def keeps_gradient(first: Tensor, *_: object) -> bool:
    """Whether the kernels of a loss write the gradient already forward: half precision would be rounded twice."""
    return first.dtype in (torch.float32, torch.float64)


class Library:
    """The loaded library: its kernels for the instruction set in use."""

    def __init__(self, path: Path) -> None:
        self.handle = ctypes.CDLL(os.fspath(path))
        version = getattr(self.handle, "depthattn_abi", None)
        if version is None:
            raise OSError(f"{path.name} is no library of this package: install it again")
        version.restype = ctypes.c_int64
        if version() != ABI:
            raise OSError(f"{path.name} has interface {version()}, and this package speaks {ABI}: install it again")
        self.usable = tuple(
            name
            for level, name in enumerate(INSTRUCTION_SETS)
            if self.handle.depthattn_runs(level) and hasattr(self.handle, f"checks_{name}")
        )
        forced = os.environ.get(FORCE)
        if forced and forced not in self.usable:
            raise OSError(f"{FORCE} expected one of {', '.join(self.usable)} on this processor, got {forced!r}")
        self.instruction_set = forced or self.usable[-1]
        self.threads = self._use_torch_threads()
        self._kernels: dict[str, Any] = {}

    def _use_torch_threads(self) -> str:
        """Hand over PyTorch's threads, so that work runs on them and obeys torch.set_num_threads; says which way."""
        try:
            torch_cpu = ctypes.CDLL(os.fspath(torch_library()))
        except OSError as error:
            return f"1 ({' '.join(str(error).split())})"
        if hasattr(torch_cpu, "torch_parallel_for"):
            self.handle.depthattn_use_threads(torch_cpu.torch_parallel_for)
            return "those of PyTorch"
        try:
            # A name is looked for in a library and in those that it was linked to: in the very OpenMP of PyTorch.
            self.handle.depthattn_use_openmp(*(getattr(torch_cpu, symbol) for symbol in OPENMP))
        except AttributeError:
            return f"1 (PyTorch {torch.__version__} exports no way to its threads, 2.10 and newer do)"
        return "those of PyTorch, by its OpenMP"

    def large_pages(self, memory: Tensor) -> None:
        """Ask the system to back ``memory``, which nobody has written to, by large pages."""
        self.handle.depthattn_large_pages(ctypes.c_void_p(memory.data_ptr()), ctypes.c_int64(memory.nbytes))

    def run(self, kernel: str, arguments: ctypes.Structure, *, wide: bool) -> int:
        """Call ``kernel`` of the instruction set in use, in double arithmetic if ``wide``; returns its status."""
        function = self._kernels.get(kernel)
        if function is None:
            function = getattr(self.handle, f"{kernel}_{self.instruction_set}")
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
