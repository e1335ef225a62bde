"""Options and files for a run of a second or two."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tests.models.networks import Stem

from depthattn import SynergyNet

ROOT = Path(__file__).parents[2]

TINY = ["--size", "32", "48", "--encoder", "resnet18", "--decoder-channels", "8", "8",
        "--epochs", "1", "--batch-size", "2", "--workers", "0", "--no-tensorboard"]  # fmt: skip


def exit_status(main: Callable[[list[str]], int], *arguments: object) -> int:
    """What a script would exit with."""
    try:
        return main([*map(str, arguments)])
    except SystemExit as stop:
        return int(stop.code or 0)


def write_pictures(folder: Path, count: int, *, depth: bool = True, labels: bool = False) -> None:
    random = np.random.default_rng(0)
    for name in ["images"] + ["depths"] * depth + ["labels"] * labels:
        (folder / name).mkdir(parents=True)
    for index in range(count):
        image = random.integers(0, 255, (40, 56, 3), dtype=np.uint8)
        Image.fromarray(image).save(folder / "images" / f"{index}.png")
        if depth:
            metres = random.integers(700, 5000, (40, 56)).astype(np.uint16)
            Image.fromarray(metres).save(folder / "depths" / f"{index}.png")
        if labels:
            Image.fromarray(random.integers(0, 3, (40, 56), dtype=np.uint8)).save(folder / "labels" / f"{index}.png")


def write_list(folder: Path, count: int) -> Path:
    write_pictures(folder, count)
    lines = [f"/images/{index}.png depths/{index}.png 518.8579" for index in range(count)]
    (folder / "frames.txt").write_text("\n".join(lines))
    return folder / "frames.txt"


def script_environment(**variables: str) -> dict[str, str]:
    """The environment of another Python that finds what this one does."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples"), *sys.path]), **variables}


def tiny_network(settings: Any, num_classes: int) -> SynergyNet:
    """In place of ``training.network.build_model``: checkpoints that take no time to write."""
    return SynergyNet(Stem(), max(num_classes, 1), decoder_channels=(8, 8), upsample_semantics="eval")
