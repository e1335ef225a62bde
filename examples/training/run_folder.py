"""The folder of a run: what it holds, and when it is made and taken away."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from depthattn._messages import reason_of
from scripting.outputs import check_output
from training import checkpoint
from training.facts import RecordError
from training.settings import OPTIONS_FILE, Settings

_CONFIG = "config.json"
_METRICS = "metrics.jsonl"
_CONTENTS = (
    _CONFIG, OPTIONS_FILE, _METRICS, "results.json", "checkpoints", "pictures", "report.html", "tensorboard", "model",
)  # fmt: skip


class RunFolder:
    """A run on disk.

    Nothing is written before :meth:`create`, and :meth:`discard_if_empty` takes the folder away again if the run
    ended before it had a checkpoint.

    Args:
        path: the folder.
        overwrite: whether a run that is there may be replaced.
        resume: whether a run that is there may go on.

    Attributes:
        resumes: whether there is a checkpoint to go on from, and it was asked for.

    Raises:
        ValueError: the folder cannot be used; nothing was changed.
    """

    def __init__(self, path: Path, *, overwrite: bool, resume: bool = False) -> None:
        check_output("--output", path)
        present = sorted(entry.name for entry in path.iterdir()) if path.is_dir() else []
        if present and _CONFIG not in present:
            raise ValueError(f"--output {path}: expected a new or empty folder, got one that holds {present[0]}")
        if present and not (overwrite or resume):
            raise ValueError(
                f"--output {path}: expected a new folder, got an earlier run; --resume goes on with it, --overwrite "
                "replaces it"
            )
        self.path = path
        self.best = path / "checkpoints" / "best"
        self.last = path / "checkpoints" / "last"
        self.pictures = path / "pictures"
        self.tensorboard = path / "tensorboard"
        self.model = path / "model"
        self.resumes = resume and self.kept is not None
        self._created = False
        self._made = [folder for folder in (path, *path.parents) if not folder.exists()]

    def create(self, config: Mapping[str, Any], settings: Settings) -> None:
        """Make the folder, or empty it of the run it holds, and write config.json and config.yaml."""
        self._created = True
        self.path.mkdir(parents=True, exist_ok=True)
        self._empty()
        checkpoint.write_json(self.path / _CONFIG, config)
        settings.save_options(self.path)

    def write_settings(self, settings: Settings) -> None:
        """Write the settings again, as those of a run that goes on may have the data elsewhere.

        Raises:
            RecordError: config.json is not there or damaged.
        """
        path = self.path / _CONFIG
        try:
            config = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise RecordError(f"{path}: expected the config.json of the run, got: {reason_of(error)}") from error
        if not isinstance(config, dict):
            raise RecordError(f"{path}: expected a JSON object, got {type(config).__name__}")
        checkpoint.write_json(path, {**config, "settings": settings.as_json()})
        settings.save_options(self.path)

    def discard_if_empty(self) -> None:
        """Remove what :meth:`create` made, unless a checkpoint has been saved since."""
        if not self._created or self.kept is not None:
            return
        self._empty()
        for folder in self._made:
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    @property
    def kept(self) -> Path | None:
        """The last complete checkpoint, if there is one."""
        return next((place for place in (self.last, checkpoint.previous(self.last)) if place.exists()), None)

    def write_metrics(self, history: Sequence[Mapping[str, float]]) -> None:
        """Write metrics.jsonl, an epoch a line; what is NaN, as a score with no ground truth is, is left out."""
        lines = (json.dumps({key: value for key, value in row.items() if not math.isnan(value)}) for row in history)
        checkpoint.write_text(self.path / _METRICS, "".join(f"{line}\n" for line in lines))

    def write_results(self, results: Mapping[str, Any]) -> None:
        checkpoint.write_json(self.path / "results.json", results)

    def _empty(self) -> None:
        for name in _CONTENTS:
            old = self.path / name
            if old.is_dir():
                shutil.rmtree(old)
            else:
                old.unlink(missing_ok=True)
