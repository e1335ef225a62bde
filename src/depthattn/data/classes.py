"""The NYU Depth v2 label sets (894, 40 and 13 classes) and its official split."""

from __future__ import annotations

import functools
import json
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depthattn.data.errors import DataError
from depthattn.data.sample import IGNORE_INDEX

NYU_CLASS_COUNTS = (894, 40, 13)
OFFICIAL_FRAMES = 1449
_MAX_LABEL = 894


def _table(name: str) -> dict[str, Any]:
    text = resources.files("depthattn.data").joinpath("tables").joinpath(name).read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def _check_num_classes(function: str, num_classes: int) -> None:
    if num_classes not in NYU_CLASS_COUNTS:
        raise ValueError(f"{function}: expected num_classes 894, 40 or 13, got {num_classes!r}")


@functools.cache
def class_names(num_classes: int) -> tuple[str, ...]:
    """Names of the NYU Depth v2 classes, in the order of the class ids.

    Args:
        num_classes: 894 (all object names), 40 (Gupta et al. 2013) or 13 (Couprie et al. 2013).

    Returns:
        One name per class.

    Raises:
        ValueError: another number of classes.

    Example:
        >>> from depthattn.data import class_names
        >>> class_names(40)[:3]
        ('wall', 'floor', 'cabinet')
    """
    _check_num_classes("class_names", num_classes)
    return tuple(_table("nyuv2_classes.json")[f"names{num_classes}"])


@functools.cache
def _lookup(num_classes: int) -> npt.NDArray[np.int64]:
    """Class id of each stored label 0..894."""
    table = _table("nyuv2_classes.json")
    ids = np.arange(1, _MAX_LABEL + 1)
    if num_classes != 894:
        ids = np.asarray(table["map894to40"])
    if num_classes == 13:
        ids = np.asarray(table["map40to13"])[ids - 1]
    lookup = np.concatenate([[IGNORE_INDEX], ids - 1]).astype(np.int64)
    lookup.flags.writeable = False
    return lookup


def map_labels(labels: npt.NDArray[np.integer[Any]], num_classes: int, *, where: str = "labels") -> torch.Tensor:
    """Class ids of the labels stored in the NYU file.

    Args:
        labels: integers in 0..894, any shape; 0 means unlabelled.
        num_classes: 894, 40 or 13.
        where: what the labels are, for the error.

    Returns:
        int64 tensor of the same shape with values in 0..num_classes-1, and -100 for unlabelled pixels.

    Raises:
        DataError: a label is negative or over 894.
        ValueError: another number of classes.

    Example:
        >>> map_labels(np.array([0, 21, 11]), 40)  # unlabelled, wall, floor
        tensor([-100,    0,    1])
    """
    _check_num_classes("map_labels", num_classes)
    if labels.size:
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest > _MAX_LABEL:
            found = lowest if lowest < 0 else highest
            raise DataError(f"{where}: expected labels in 0..{_MAX_LABEL}, got {found}")
    return torch.from_numpy(_lookup(num_classes)[labels])


@functools.cache
def official_split(split: str) -> tuple[int, ...]:
    """Zero-based frame numbers of the official 795 / 654 split of the 1449 labeled frames.

    Args:
        split: "train" or "test".

    Raises:
        ValueError: another name.
    """
    if split not in ("train", "test"):
        raise ValueError(f'official_split: expected "train" or "test", got {split!r}')
    train = {
        frame - 1 for first, last in _table("nyuv2_split.json")["train_ranges"] for frame in range(first, last + 1)
    }
    return tuple(frame for frame in range(OFFICIAL_FRAMES) if (frame in train) == (split == "train"))
