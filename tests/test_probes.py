"""Packages that may be missing are asked for with care: whatever stands in for them, the import goes on."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec

import pytest

from depthattn.ops import backend

STUBS = {
    "no spec": "types.ModuleType('triton')",
    "no attribute at all": "object()",
    "a broken spec": "types.SimpleNamespace(__spec__=1)",
    "kept out": "None",
}


@pytest.mark.parametrize("stub", STUBS.values(), ids=STUBS.keys())
def test_import_survives_a_stub_of_triton(stub: str) -> None:
    # PyTorch comes first: what it does with a stub is not ours.
    program = f"""
import sys, types, torch
sys.modules["triton"] = {stub}
import depthattn
loss = depthattn.DepthAwareLoss()(torch.ones(1, 4, 4), torch.full((1, 4, 4), 2.0))
assert float(loss) > 0
print(depthattn.show_config())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "triton     not available: " in done.stdout


@pytest.mark.parametrize(
    ("version", "obstacle"),
    [
        ("3.3.0", None),
        ("3.3rc1", None),
        ("3.7.1+git", None),
        ("10.0", None),
        ("3.2.0", "triton is 3.2.0, older than 3.3"),
        ("2", "triton has the version '2'"),
        (None, "triton has the version None"),
        ("nightly", "triton has the version 'nightly'"),
    ],
)
def test_versions_of_triton(version: str | None, obstacle: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(backend.importlib.metadata, "version", lambda name: version)
    assert backend._triton_obstacle() == obstacle


@pytest.mark.parametrize("error", [KeyError("Version"), OSError("unreadable"), TypeError("None")], ids=repr)
def test_broken_metadata_of_triton_is_an_obstacle(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(name: str) -> str:
        raise error

    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: ModuleSpec(name, None))
    monkeypatch.setattr(backend.importlib.metadata, "version", fail)
    assert backend._triton_obstacle() == f"triton cannot be asked for its version: {type(error).__name__}"
