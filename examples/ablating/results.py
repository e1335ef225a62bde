"""What has been trained already: one JSON file for each variant and seed, whole or not there."""

from __future__ import annotations

import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import depthattn
from ablating.settings import Settings
from ablating.variants import Variant
from training.checkpoint import write_json

Scores = dict[str, float]


class Results:
    """The results of one ablation, in a folder.

    Args:
        folder: made if it is not there.
        settings: what all results must have been made with.

    Raises:
        OSError: the folder cannot be made.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self._settings = settings.as_json()
        self._trials = folder / "trials"
        self._trials.mkdir(parents=True, exist_ok=True)

    def load(self, variant: Variant, seed: int) -> Scores | None:
        """The scores of a trial, or None where it has not been done.

        Raises:
            ValueError: the file was made with other settings, or of another variant of this name, or is none of ours.
        """
        path = self._path(variant, seed)
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            settings, made_of, scores = (dict(found[part]) for part in ("settings", "variant", "scores"))
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}: expected a result of this script, got {error!r}; remove it") from error
        for wanted, got in ((self._settings, settings), (variant.as_json(), made_of)):
            for name, value in wanted.items():
                if got.get(name) != value:
                    raise ValueError(
                        f"{path}: expected a result with {name} {value}, got {got.get(name)}; another --output keeps "
                        "both"
                    )
        return {name: math.nan if value is None else value for name, value in scores.items()}

    def save(self, variant: Variant, seed: int, scores: Scores, facts: dict[str, Any]) -> None:
        """Keep the scores of a trial; ``facts`` are kept with them for the reader."""
        versions = {"depthattn": depthattn.__version__, "python": platform.python_version(), "torch": version("torch")}
        write_json(
            self._path(variant, seed),
            {
                "variant": variant.as_json(),
                "seed": seed,
                # JSON has no NaN.
                "scores": {name: value if math.isfinite(value) else None for name, value in scores.items()},
                **facts,
                "settings": self._settings,
                "versions": versions,
            },
        )

    def _path(self, variant: Variant, seed: int) -> Path:
        return self._trials / f"{variant.key}-seed{seed}.json"
