"""The frames of an ablation."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset, Subset

from ablating.settings import Settings
from depthattn.data import DataError, NYUDepthV2, RGBDList, Sample, SyntheticRooms
from depthattn.data.transforms import eval_transform
from training.hold_out import blocks


@dataclass(frozen=True)
class Frames:
    """Frames to train on and to score, not augmented.

    Args:
        title: what they are, for the reader.
        train: frames to train on.
        validation: other frames to score.
        class_names: a name for each class.
    """

    title: str
    train: Dataset[Sample]
    validation: Dataset[Sample]
    class_names: tuple[str, ...]


def open_frames(settings: Settings) -> Frames:
    """The frames that ``settings`` name.

    Raises:
        DataError: a file that cannot be used, named in the message.
    """
    if settings.nyu is not None:
        name, train, test = _nyu(settings)
    elif settings.folder is not None and settings.val_folder is not None:
        name, train, test = _folders(settings, settings.folder, settings.val_folder)
    else:
        name, train, test = _rooms(settings)
    class_names = train.class_names
    train = _first(train, settings.train_frames)
    if settings.hold_out:
        held = [place for run in blocks(len(train)) for place in run]
        rest = sorted(set(range(len(train))) - set(held))
        train, test, name = Subset(train, rest), Subset(train, held), f"{name}, training frames alone"
    test = _first(test, settings.val_frames)
    title = f"{name}, {len(train)} frames to train on, {len(test)} others to score"
    return Frames(title, train, test, tuple(class_names))


def _rooms(settings: Settings) -> tuple[str, Any, Any]:
    # No room may turn up in both.
    train, test = (
        SyntheticRooms(count or 1, size=settings.size, seed=part)
        for part, count in enumerate((settings.train_frames, settings.val_frames))
    )
    return "SyntheticRooms", train, test


def _nyu(settings: Settings) -> tuple[str, Any, Any]:
    train, test = (
        NYUDepthV2(
            settings.nyu, split, splits=settings.splits, num_classes=settings.classes,
            transform=eval_transform(settings.size),
        )
        for split in ("train", "test")
    )  # fmt: skip
    return f"NYU Depth v2 ({settings.classes} classes)", train, test


def _folders(settings: Settings, *folders: Path) -> tuple[str, Any, Any]:
    train, test = (
        RGBDList.from_folder(
            folder / "images", folder / "depths", folder / settings.labels,
            num_classes=settings.classes, ignore_value=settings.ignore_value, first_label=settings.first_label,
            transform=eval_transform(settings.size),
        )
        for folder in folders
    )  # fmt: skip
    return f"folders ({settings.classes} classes)", train, test


def _first(frames: Any, count: int | None) -> Any:
    return frames if count is None or count >= len(frames) else Subset(frames, range(count))


def check_truth(depth: Tensor, labels: Tensor, max_depth: float, where: str) -> None:
    """Find out whether there is something to train on, or to score by, before hours of training.

    Raises:
        DataError: no pixel has a depth of up to ``max_depth`` metres, or none has a label; it begins with ``where``.
    """
    for wanted, found in ((f"a true depth of up to {max_depth:g} m", (depth > 0) & (depth <= max_depth)),
                          ("a label", labels >= 0)):  # fmt: skip
        if not found.any():
            raise DataError(f"{where}: expected {wanted}, got none in {len(depth)} frames")


def thirds(depth: Tensor, max_depth: float) -> tuple[float, float]:
    """The depths, metres, that part the valid pixels of ``depth`` up to ``max_depth`` into three equal shares."""
    valid = depth[(depth > 0) & (depth <= max_depth)].numpy()
    low, high = np.quantile(valid, (1 / 3, 2 / 3)).tolist()
    return low, high
