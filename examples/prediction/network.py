"""A trained network from any of the folders that hold one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from depthattn import SynergyNet
from depthattn.models.pretrained import assemble
from training import checkpoint

_CONFIG = "config.json"


@dataclass(frozen=True)
class Trained:
    """A network and what is known of its training."""

    net: SynergyNet
    class_names: tuple[str, ...]
    size: tuple[int, int] | None


def load_trained(given: Path) -> Trained:
    """Read a folder of ``SynergyNet.save_pretrained``, a run of train_nyu.py, one of its checkpoints, or its weights.

    Raises:
        ValueError: nothing of these, or damaged; the message names the file.
    """
    folder = given.parent if given.suffix == ".safetensors" else given
    if (folder / _CONFIG).is_file() and (folder / "model.safetensors").is_file():
        net = SynergyNet.from_pretrained(folder)
        return Trained(net, net.class_names, net.image_size)
    best = folder / "checkpoints" / "best"
    folder = best if best.is_dir() else folder
    saved = checkpoint.load(folder)
    names = saved.info.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise checkpoint.CheckpointError(
            f"{folder / checkpoint.INFO}: expected class_names as a list of names, got {names!r:.60}"
        )
    return Trained(_network(saved, folder), tuple(names), _trained_size(folder))


def _network(saved: checkpoint.Checkpoint, folder: Path) -> SynergyNet:
    config = saved.info.get("model")
    if not isinstance(config, dict) or config.get("encoder") is None:
        raise checkpoint.CheckpointError(
            f"{folder / checkpoint.INFO}: expected the network under 'model', got {config}"
        )
    try:
        return assemble(SynergyNet, config, saved.tensors.get("model", {}))
    except (ValueError, TypeError) as error:
        raise checkpoint.CheckpointError(f"{folder / checkpoint.INFO}: {error}") from error


def _trained_size(folder: Path) -> tuple[int, int] | None:
    """The picture size of the run that the checkpoint lies in, if it lies in one."""
    try:
        config: dict[str, Any] = json.loads((folder.parent.parent / _CONFIG).read_text(encoding="utf-8"))
        height, width = config["settings"]["size"]
        return int(height), int(width)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None
