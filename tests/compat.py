"""Run the tests on the oldest PyTorch that is supported and on the newest: ``python -m tests.compat``.

Each has an environment of its own in ``.venv/torch-VERSION``, kept for the next time, with timm in it. Arguments
go to pytest; without any, the whole suite runs. Needs nothing but Python itself, and exits with 1 if a suite fails.
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
    subprocess.run([*pip, torch, "timm", "--editable", f"{ROOT}[test]"], check=True)
    made.touch()
    return python


def main(arguments: list[str]) -> int:
    failed = []
    for version in (oldest(), NEWEST):
        try:
            python = environment(version)
            subprocess.run([python, "-c", "import torch; print('compat: torch', torch.__version__)"], check=True)
            subprocess.run(
                [python, "-m", "pytest", *arguments], cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": ""}
            )
        except subprocess.CalledProcessError as error:
            failed.append(f"torch {version} (exit code {error.returncode})")
    print(f"compat: failed with {' and '.join(failed)}" if failed else "compat: both pass")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
