"""The folder of a run: what it holds, and when it is made and taken away."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from training import checkpoint

_CONFIG = "config.json"
_CONTENTS = (_CONFIG, "metrics.jsonl", "results.json", "checkpoints", "pictures", "report.html")


class RunFolder:
    """A run on disk.

    Nothing is written before :meth:`create`, and :meth:`discard_if_empty` takes the folder away again if the run
    ended before it had a checkpoint.

    Args:
        path: the folder.
        overwrite: whether a run that is there may be replaced.

    Raises:
        ValueError: the folder cannot be used; nothing was changed.
    """

    def __init__(self, path: Path, *, overwrite: bool) -> None:
        if path.exists() and not path.is_dir():
            raise ValueError(f"--output {path}: wanted a folder, got a file")
        present = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        if present and _CONFIG not in present:
            raise ValueError(f"--output {path}: wanted a new or empty folder, got one that holds {present[0]}")
        if present and not overwrite:
            raise ValueError(f"--output {path}: wanted a new folder, got an earlier run; --overwrite replaces it")
        self.path = path
        self.best = path / "checkpoints" / "best"
        self.last = path / "checkpoints" / "last"
        self.pictures = path / "pictures"
        self._made = [folder for folder in (path, *path.parents) if not folder.exists()]

    def create(self, config: Mapping[str, Any]) -> None:
        """Make the folder, or empty it of the run it holds, and write config.json."""
        self.path.mkdir(parents=True, exist_ok=True)
        for name in _CONTENTS:
            old = self.path / name
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
        checkpoint.write_json(self.path / _CONFIG, config)

    def discard_if_empty(self) -> None:
        """Remove what :meth:`create` made, unless a checkpoint has been saved since."""
        if self.last.exists():
            return
        shutil.rmtree(self.path / "checkpoints", ignore_errors=True)
        for name in _CONTENTS:
            if not (self.path / name).is_dir():
                (self.path / name).unlink(missing_ok=True)
        for folder in self._made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def append_metrics(self, row: Mapping[str, float]) -> None:
        """Add a line to metrics.jsonl; what is NaN, as a score with no truth is, is left out."""
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({key: value for key, value in row.items() if not math.isnan(value)}) + "\n")

    def write_results(self, results: Mapping[str, Any]) -> None:
        checkpoint.write_json(self.path / "results.json", results)
