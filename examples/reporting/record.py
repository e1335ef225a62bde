"""What a run folder says about its run."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from training.checkpoint import INFO
from training.facts import expect, row_from_json
from training.settings import Settings

CONFIG, METRICS, BEST = "config.json", "metrics.jsonl", Path("checkpoints") / "best"


@dataclass(frozen=True)
class RunRecord:
    """A run as its folder holds it.

    Args:
        path: the folder.
        config: config.json: command, settings, data, model, device, versions.
        history: losses, scores and gates of each finished epoch.
        best_epoch: the one whose weights are the best checkpoint.
    """

    path: Path
    config: dict[str, Any]
    history: Sequence[dict[str, float]]
    best_epoch: int

    @property
    def settings(self) -> Settings:
        """The settings of the run, as they were.

        Raises:
            ValueError: they are not those of this version of the script.
        """
        given = self.config["settings"]
        known = {field.name: str(field.type) for field in fields(Settings)}
        values: dict[str, Any] = {}
        for name, value in given.items():
            is_path = "Path" in known.get(name, "")
            if isinstance(value, list):
                value = tuple(Path(item) if is_path and isinstance(item, str) else item for item in value)
            elif isinstance(value, str) and is_path:
                value = Path(value)
            values[name] = value
        try:
            return Settings(**values)
        except TypeError as error:
            raise ValueError(
                f"{self.path / CONFIG}: expected the settings of this version of train_nyu.py, got others ({error})"
            ) from error


def read_record(path: Path) -> RunRecord:
    """Read config.json, metrics.jsonl and the facts of the best checkpoint.

    Raises:
        ValueError: a file is missing or damaged; the message names it.
    """
    config = _read_json(path / CONFIG, "the folder of a run of train_nyu.py")
    info = _read_json(path / BEST / INFO, "the best checkpoint of a run, which is there after its first epoch")
    expect(config, {"settings": dict, "data": str, "class_names": list, "model": dict}, path / CONFIG)
    expect(info, {"epoch": int}, path / BEST / INFO)
    return RunRecord(path, config, _read_history(path / METRICS), info["epoch"])


def _read_json(path: Path, wanted: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: expected {wanted}, got {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object, got {type(content).__name__}")
    return content


def _read_history(path: Path) -> list[dict[str, float]]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "bytes outside UTF-8"
        raise ValueError(f"{path}: expected the losses and scores of a run, got {reason}") from error
    history = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path} line {number}: expected an epoch as JSON, got {line[:60]!r}") from error
        history.append(row_from_json(row, ("epoch",), f"{path} line {number}"))
    return history
