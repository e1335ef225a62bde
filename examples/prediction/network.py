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
    """A network and what is known of its training.

    Args:
        net: the network.
        class_names: a name for each class; empty if it was trained without labels.
        size: of the pictures that it was trained on; None if that is not recorded.
        data: what it was trained on, in words; None if that is not recorded.
    """

    net: SynergyNet
    class_names: tuple[str, ...]
    size: tuple[int, int] | None
    data: str | None

    def summary(self) -> list[str]:
        """Lines for the reader."""
        size = "" if self.size is None else f" at {self.size[0]}x{self.size[1]} pixels"
        return [
            f"network     SynergyNet({self.net.config['encoder']}), {len(self.class_names) or 'no'} classes",
            f"trained on  {self.data or 'data that its folder does not name'}{size}",
        ]


def load_trained(given: Path) -> Trained:
    """Read a folder of ``SynergyNet.save_pretrained``, a run of train_nyu.py, one of its checkpoints, or its weights.

    Raises:
        ValueError: nothing of these, or damaged; the message names the file.
    """
    folder = given.parent if given.suffix == ".safetensors" else given
    if (folder / _CONFIG).is_file() and (folder / "model.safetensors").is_file():
        net = SynergyNet.from_pretrained(folder)
        # In the folder of its run.
        return Trained(net, net.class_names, net.image_size, _run_record(folder.resolve().parent)[1])
    best = folder / "checkpoints" / "best"
    folder = best if best.is_dir() else folder
    saved = checkpoint.load(folder)
    names = saved.info.get("class_names", [])
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise checkpoint.CheckpointError(
            f"{folder / checkpoint.INFO}: expected class_names as a list of names, got {names!r:.60}"
        )
    return Trained(_network(saved, folder), tuple(names), *_run_record(folder.resolve().parent.parent))


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


def _run_record(run: Path) -> tuple[tuple[int, int] | None, str | None]:
    """Picture size and data of a run, as far as its folder has them; a checkpoint may lie in no run."""
    try:
        config: dict[str, Any] = json.loads((run / _CONFIG).read_text(encoding="utf-8"))
        height, width = config["settings"]["size"]
        size = int(height), int(width)
    except (OSError, ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return None, None
    data = config.get("data")
    return size, data if isinstance(data, str) else None
