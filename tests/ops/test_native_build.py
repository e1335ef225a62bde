"""The build where there is no compiler, or none is wanted: the package works, and says why it has no kernels."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from depthattn.ops import native

ROOT = Path(__file__).resolve().parents[2]
NATIVE = Path("src/depthattn/ops/native")

_USE = """
import torch, depthattn
loss = depthattn.DepthAwareLoss()(torch.ones(1, 4, 4), torch.full((1, 4, 4), 2.0))
assert float(loss) > 0
text = depthattn.show_config()
try:
    with depthattn.use_backend("cpu"):
        raise SystemExit("expected an error")
except ValueError as error:
    print(error)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources of the package, without what was built from them."""
    target = tmp_path_factory.mktemp("tree")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "MANIFEST.in"):
        shutil.copy(ROOT / name, target)
    built = shutil.ignore_patterns("__pycache__", "*.egg-info", native.LIBRARY.name, "build.json")
    shutil.copytree(ROOT / "src", target / "src", ignore=built)
    return target


def build(tree: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """``setup.py build_ext --inplace`` where PATH leads to no compiler."""
    (tree / "empty").mkdir(exist_ok=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("CC", "CXX", "DEPTHATTN_BUILD_NATIVE")}
    return subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "PATH": str(tree / "empty"), **environment},
    )


def recorded(tree: Path) -> str:
    failure = json.loads((tree / NATIVE / "build.json").read_text())["failure"]
    assert isinstance(failure, str)
    return failure


@pytest.mark.skipif(sys.platform == "win32", reason="Windows finds its compiler without PATH")
def test_without_a_compiler_the_reason_is_recorded_and_shown(tree: Path) -> None:
    # A library of an earlier build must not stand for this one.
    (tree / NATIVE / native.LIBRARY.name).write_bytes(b"of an earlier build")
    done = build(tree)
    assert done.returncode == 0, done.stderr
    failure = recorded(tree)
    assert "No such file" in failure
    assert f"no C++ kernels: {failure}" in done.stdout + done.stderr
    assert not (tree / NATIVE / native.LIBRARY.name).exists()
    used = subprocess.run(
        [sys.executable, "-c", _USE],
        cwd=tree,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
    ).stdout.splitlines()
    reason = f"the C++ kernels were not built: {failure}"
    assert f"cpu        not available: {reason}" in used
    assert used[-1] == f"use_backend('cpu'): expected kernels that can run here, got none: {reason}"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows finds its compiler without PATH")
def test_a_failure_can_be_made_fatal(tree: Path) -> None:
    done = build(tree, DEPTHATTN_BUILD_NATIVE="1")
    assert done.returncode != 0
    assert "No such file" in done.stderr


def test_the_kernels_can_be_left_out(tree: Path) -> None:
    assert build(tree, DEPTHATTN_BUILD_NATIVE="0").returncode == 0
    assert recorded(tree) == "DEPTHATTN_BUILD_NATIVE=0 left them out"


def test_another_wish_is_refused(tree: Path) -> None:
    done = build(tree, DEPTHATTN_BUILD_NATIVE="yes")
    assert done.returncode != 0
    assert done.stderr.splitlines()[-1] == "DEPTHATTN_BUILD_NATIVE expected 0, 1 or nothing, got 'yes'"
