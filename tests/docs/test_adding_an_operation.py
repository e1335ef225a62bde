"""The C++ kernel on the page is one: it compiles beside those of the package, and computes what the page says."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

from depthattn.ops import native
from depthattn.ops.native import View, view

PAGE = Path(__file__).parents[2] / "docs/explanation/adding_an_operation.md"
COMPILER = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)


class Arguments(ctypes.Structure):
    _fields_ = (
        ("pred", View), ("target", View), ("batch", ctypes.c_int64), ("height", ctypes.c_int64),
        ("width", ctypes.c_int64), ("gradient", View), ("sums", ctypes.c_void_p), ("counts", ctypes.c_void_p),
    )  # fmt: skip


@pytest.mark.skipif(COMPILER is None, reason="needs a C++ compiler")
def test_kernel_of_the_page_computes_log_cosh(tmp_path: Path) -> None:
    (code,) = re.findall(r"```cpp\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    folder = native.FOLDER.as_posix()
    source, library = tmp_path / "cpu.cpp", tmp_path / "log_cosh.so"
    source.write_text(code.replace('"../native/', f'"{folder}/') + f'#include "{folder}/rows.cpp"\n')
    thread_pool = tmp_path / "module.cpp"
    thread_pool.write_text(f'#include "{folder}/module.cpp"\n')
    flags = ("-std=c++17", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared", "-DDEPTHATTN_ISA=baseline")
    subprocess.run([str(COMPILER), *flags, str(source), str(thread_pool), "-o", str(library)], check=True)

    torch.manual_seed(0)
    pred, target = torch.rand(2, 2, 5, 300) * 8 + 0.5
    target[0, 0] = 0
    pred[0, 0] = torch.nan
    gradient = torch.empty_like(pred)
    sums, counts = torch.empty(2, dtype=torch.float64), torch.empty(2, dtype=torch.int64)
    arguments = Arguments(
        view(pred), view(target), 2, 5, 300, view(gradient), sums.data_ptr(), counts.data_ptr()
    )  # fmt: skip
    kernel = ctypes.CDLL(str(library)).log_cosh_baseline
    kernel.argtypes = (ctypes.c_void_p, ctypes.c_int32)
    assert kernel(ctypes.addressof(arguments), False) == 0

    error = torch.where(target > 0, pred - target, 0).double()
    assert counts.tolist() == [1200, 1500]
    torch.testing.assert_close(sums, error.cosh().log().sum((1, 2)), rtol=1e-6, atol=0)
    torch.testing.assert_close(gradient, error.tanh().float())
