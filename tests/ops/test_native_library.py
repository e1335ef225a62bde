"""What the library of C++ kernels is to the process that loads it."""

from __future__ import annotations

import _ctypes
import json
import mmap
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tests.ops import every_kernel
from tests.ops.native_calls import usable

import depthattn
from depthattn.ops import native

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.native


@pytest.fixture(scope="module")
def formula() -> every_kernel.Results:
    with depthattn.use_backend("reference"):
        return every_kernel.run(torch.float64)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and forks")
@pytest.mark.parametrize("instructions", usable())
def test_every_operation_on_each_instruction_set(
    instructions: str, formula: every_kernel.Results, tmp_path: Path
) -> None:
    file = tmp_path / "results.pt"
    report = json.loads(python("-m", "tests.ops.every_kernel", str(file), DEPTHATTN_ISA=instructions).stdout)
    assert report["instruction set"] == instructions
    results = torch.load(file, weights_only=True)
    assert results.keys() == formula.keys()
    for name, wanted in formula.items():
        for actual, expected in zip(results[name], wanted, strict=True):
            worst = float((actual.double() - expected).abs().max() / expected.abs().max())
            assert worst < 1e-5, name
    # The same bits on any number and kind of threads.
    assert report["differences"] == {way: [] for way in report["differences"]}
    before, after = report["OpenMP"]
    assert before == after
    assert len(after) == 1
    # Nothing switched the process to flush denormals to zero.
    assert report["denormals"]


LARGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


@pytest.mark.skipif(not LARGE_PAGES.exists(), reason="this system has no transparent large pages")
@pytest.mark.parametrize(("megabytes", "asked"), [(64, True), (3, False)])
def test_large_results_are_asked_for_in_large_pages(megabytes: int, asked: bool) -> None:
    # A mapping of its own: what the allocator hands out again has been asked for before.
    mapping = mmap.mmap(-1, megabytes << 20)
    memory = native.in_large_pages(torch.frombuffer(mapping, dtype=torch.uint8))
    middle = memory.data_ptr() + memory.nbytes // 2
    regions = re.findall(
        r"^([0-9a-f]+)-([0-9a-f]+) .*?^VmFlags: (.*?)$",
        Path("/proc/self/smaps").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    (flags,) = (flags.split() for first, end, flags in regions if int(first, 16) <= middle < int(end, 16))
    assert ("hg" in flags) == asked


def test_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEPTHATTN_ISA", "mmx")
    with pytest.raises(OSError, match=r"^DEPTHATTN_ISA expected one of baseline.* on this processor, got 'mmx'$"):
        native.Library(native.LIBRARY)


def test_library_of_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "ABI", native.ABI + 1)
    message = f"interface {native.ABI - 1}, and this package speaks {native.ABI}"
    with pytest.raises(OSError, match=message):
        native.Library(native.LIBRARY)
    native.load.cache_clear()
    try:
        with pytest.raises(ValueError, match=rf"^use_backend\('cpu'\): .*{message}"), depthattn.use_backend("cpu"):
            pass
        assert f"not available: {native.LIBRARY.name} has {message}" in depthattn.show_config()
    finally:
        native.load.cache_clear()


def test_some_other_library_is_refused() -> None:
    with pytest.raises(OSError, match="is no library of this package"):
        native.Library(Path(_ctypes.__file__))


def test_config_names_the_instruction_set_and_the_threads(capsys: pytest.CaptureFixture[str]) -> None:
    text = depthattn.show_config()
    assert capsys.readouterr().out == text + "\n"
    library = native.library()
    assert f"instruction set {library.instruction_set} " in text
    assert f"threads: {library.threads}, now {torch.get_num_threads()}" in text


@pytest.mark.skipif(shutil.which("readelf") is None or sys.platform != "linux", reason="needs readelf")
class TestBinary:
    def test_needs_no_runtime_of_cpp(self) -> None:
        needed = re.findall(r"\(NEEDED\).*\[(.*)\]", readelf("--dynamic"))
        assert set(needed) <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2"}

    def test_shows_only_its_own_names(self) -> None:
        lines = [line.split() for line in readelf("--dyn-syms", "--wide").splitlines()]
        shown = {line[7] for line in lines if len(line) > 7 and line[4] == "GLOBAL" and line[6] != "UND"}
        sets = "|".join(native.INSTRUCTION_SETS)
        assert "depthattn_abi" in shown
        assert {name for name in shown if not re.fullmatch(rf"depthattn_\w+|[a-z_]+_({sets})", name)} == set()


def readelf(*options: str) -> str:
    return subprocess.run(
        ["readelf", *options, str(native.LIBRARY)], capture_output=True, text=True, check=True
    ).stdout  # fmt: skip


def python(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
