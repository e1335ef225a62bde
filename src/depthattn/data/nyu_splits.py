"""Which frames of the labeled NYU file a split names."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from depthattn.data.classes import OFFICIAL_FRAMES, official_split
from depthattn.data.errors import DataError
from depthattn.data.mat5 import read_mat5

_SPLIT_KEYS = {"train": "trainNdxs", "test": "testNdxs"}


def _read_splits(splits: Path, split: str, count: int) -> tuple[int, ...]:
    """Zero-based frames of one split of a splits.mat, which counts from 1."""
    key = _SPLIT_KEYS[split]
    if not splits.is_file():
        raise DataError(f"NYUDepthV2: {splits}: expected a splits.mat with {key}, got no such file")
    try:
        numbers = read_mat5(splits, key)
    except DataError as error:
        raise DataError(f"NYUDepthV2: {error}") from error
    if numbers.dtype.kind not in "uif" or not np.array_equal(numbers, np.floor(numbers)):
        raise DataError(f"NYUDepthV2: {splits}: '{key}': expected whole frame numbers, got {numbers.dtype}")
    bad = numbers[(numbers < 1) | (numbers > count)]
    if bad.size:
        raise DataError(
            f"NYUDepthV2: {splits}: '{key}': expected frame numbers in 1..{count} (frames in the file), "
            f"got {bad.flat[0]:g}"
        )
    if not numbers.size:
        raise DataError(f"NYUDepthV2: {splits}: '{key}': expected at least one frame number, got none")
    return tuple(int(number) - 1 for number in numbers.ravel())


def _check_frames(split: Sequence[int], path: Path, count: int) -> tuple[int, ...]:
    frames = []
    for position, number in enumerate(split):
        try:
            frame = operator.index(number)
        except TypeError as error:
            raise TypeError(f"NYUDepthV2: split[{position}]: expected a frame number, got {number!r}") from error
        if not 0 <= frame < count:
            raise DataError(f"NYUDepthV2: split[{position}]: expected a frame in 0..{count - 1} of {path}, got {frame}")
        frames.append(frame)
    if not frames:
        raise ValueError("NYUDepthV2: expected at least one frame in split, got an empty sequence")
    return tuple(frames)


def select_frames(path: Path, count: int, split: str | Sequence[int], splits: Path | None) -> tuple[int, ...]:
    """Zero-based frames that ``split`` names in the labeled file ``path`` of ``count`` frames."""
    if not isinstance(split, str):
        return _check_frames(split, path, count)
    if split == "all":
        return tuple(range(count))
    if split not in _SPLIT_KEYS:
        raise ValueError(f'NYUDepthV2: expected split "train", "test", "all" or frame numbers, got {split!r}')
    if splits is not None:
        return _read_splits(splits, split, count)
    if count != OFFICIAL_FRAMES:
        raise DataError(
            f"NYUDepthV2: {path}: expected the {OFFICIAL_FRAMES} frames of the built-in split, got {count}: "
            f'pass splits= with the path of a splits.mat, or split="all"'
        )
    return official_split(split)
