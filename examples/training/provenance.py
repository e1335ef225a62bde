"""What a run was made with."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import depthattn

_PACKAGES = ("torch", "numpy", "accelerate", "torchmetrics", "safetensors")


def versions() -> dict[str, str]:
    """Of the library, Python and the packages that results depend on."""
    packages = {name: version(name) for name in _PACKAGES}
    return {"depthattn": depthattn.__version__, "python": platform.python_version(), **packages}


def commit() -> str | None:
    """The git commit of this checkout, with "+changes" where files differ from it; None outside of a checkout."""
    try:
        # Fails where a repository that does not hold this file happens to lie around it.
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(*arguments: str) -> str:
    # status would lock the index to write down what it saw; killed for its time, it would leave the lock behind.
    command = ["git", "--no-optional-locks", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=10).stdout.strip()
