"""Run the tests on the oldest PyTorch that is supported, one in between and the newest: ``python -m tests.compat``.

Each has an environment of its own in ``.venv/torch-VERSION``, kept for the next time, with timm in it. The C++ kernels
lie in the tree, so that all three load the same file. Arguments go to pytest; without any, the whole suite
runs. Needs nothing but Python itself, and exits with 1 if a suite fails.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NEWEST = "newest"
# The last one that has no torch_parallel_for: the kernels get their threads by OpenMP there.
BETWEEN = "2.9"


def oldest() -> str:
    """The lower bound in pyproject.toml."""
    found = re.search(r'"torch>=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    if found is None:
        raise ValueError('compat: expected "torch>=VERSION" in pyproject.toml, got none')
    return found.group(1)


def environment(version: str) -> Path:
    """The Python of an environment with that PyTorch, this package and its tests' needs; made where it is missing."""
    folder = ROOT / ".venv" / f"torch-{version}"
    python, made = folder / "bin" / "python", folder / ".made"
    if made.exists() and made.stat().st_mtime > (ROOT / "pyproject.toml").stat().st_mtime:
        return python
    print(f"compat: installing torch {version} into {folder} ...", flush=True)
    venv.create(folder, with_pip=True, clear=True)
    torch = "torch" if version == NEWEST else f"torch=={version}.*"
    # Not under constraints.txt: other versions of PyTorch want other versions of their neighbours.
    pip = (str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    # timm needs the torchvision of that PyTorch, which is not published for every build of it.
    subprocess.run(
        [*pip, torch, "timm", "--editable", f"{ROOT}[test]"],
        check=True,
        env={**os.environ, "DEPTHATTN_BUILD_NATIVE": "1"},
    )
    made.touch()
    return python


# What runs here, and the binary that every version has to share.
_FACTS = """
import hashlib, depthattn
from depthattn.ops import native
depthattn.show_config()
print("kernels", hashlib.sha256(native.LIBRARY.read_bytes()).hexdigest()[:16])
"""


def main(arguments: list[str]) -> int:
    versions = (oldest(), BETWEEN, NEWEST)
    failed = []
    # All of them first: each installation builds the library once more.
    pythons = {}
    for version in versions:
        try:
            pythons[version] = environment(version)
        except subprocess.CalledProcessError as error:
            failed.append(f"torch {version}: not installed (exit code {error.returncode})")
    for version, python in pythons.items():
        try:
            for command in (("-c", _FACTS), ("-m", "pytest", *arguments)):
                subprocess.run([python, *command], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": ""})
        except subprocess.CalledProcessError as error:
            failed.append(f"torch {version} (exit code {error.returncode})")
    print(f"compat: failed with {' and '.join(failed)}" if failed else "compat: all pass")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
