"""Which frames of the labeled NYU file a split names."""

from __future__ import annotations

import operator
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from depthattn._extras import require
from depthattn.data.classes import OFFICIAL_FRAMES, official_split
from depthattn.data.errors import DataError

_SPLIT_KEYS = {"train": "trainNdxs", "test": "testNdxs"}
# What scipy.io.loadmat raises on damaged files; its own error type covers few of them.
_MAT_ERRORS = (ValueError, TypeError, KeyError, IndexError, EOFError, OSError, MemoryError, OverflowError)


def _read_splits(splits: Path, split: str, count: int) -> tuple[int, ...]:
    """Zero-based frames of one split of a splits.mat, which counts from 1."""
    loadmat = require("scipy.io", extra="nyu", purpose="NYUDepthV2 with splits").loadmat
    read_error = require("scipy.io.matlab", extra="nyu", purpose="NYUDepthV2 with splits").MatReadError
    key = _SPLIT_KEYS[split]
    wanted = "wanted a splits.mat (MATLAB v5 with trainNdxs and testNdxs)"
    if not splits.is_file():
        raise DataError(f"NYUDepthV2: {splits}: {wanted}, got no such file")
    try:
        contents = loadmat(splits, variable_names=[key])
    except NotImplementedError as error:
        raise DataError(f"NYUDepthV2: {splits}: {wanted}, got a MATLAB v7.3 file") from error
    except (*_MAT_ERRORS, read_error, struct.error, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise DataError(f"NYUDepthV2: {splits}: {wanted}, got a file that does not read ({reason})") from error
    if key not in contents:
        raise DataError(f"NYUDepthV2: {splits}: wanted key '{key}', got no such key")
    numbers = np.asarray(contents[key])
    if numbers.dtype.kind not in "uif" or not np.array_equal(numbers, np.floor(numbers)):
        raise DataError(f"NYUDepthV2: {splits}: '{key}': wanted whole frame numbers, got {numbers.dtype}")
    bad = numbers[(numbers < 1) | (numbers > count)]
    if bad.size:
        raise DataError(
            f"NYUDepthV2: {splits}: '{key}': wanted frame numbers in 1..{count} (frames in the file), "
            f"got {bad.flat[0]:g}"
        )
    if not numbers.size:
        raise DataError(f"NYUDepthV2: {splits}: '{key}': wanted at least one frame number, got none")
    return tuple(int(number) - 1 for number in numbers.ravel())


def _check_frames(split: Sequence[int], path: Path, count: int) -> tuple[int, ...]:
    frames = []
    for position, number in enumerate(split):
        try:
            frame = operator.index(number)
        except TypeError as error:
            raise TypeError(f"NYUDepthV2: split[{position}]: wanted a frame number, got {number!r}") from error
        if not 0 <= frame < count:
            raise DataError(f"NYUDepthV2: split[{position}]: wanted a frame in 0..{count - 1} of {path}, got {frame}")
        frames.append(frame)
    if not frames:
        raise ValueError("NYUDepthV2: wanted at least one frame in split, got an empty sequence")
    return tuple(frames)


def select_frames(path: Path, count: int, split: str | Sequence[int], splits: Path | None) -> tuple[int, ...]:
    """Zero-based frames that ``split`` names in the labeled file ``path`` of ``count`` frames."""
    if not isinstance(split, str):
        return _check_frames(split, path, count)
    if split == "all":
        return tuple(range(count))
    if split not in _SPLIT_KEYS:
        raise ValueError(f'NYUDepthV2: wanted split "train", "test", "all" or frame numbers, got {split!r}')
    if splits is not None:
        return _read_splits(splits, split, count)
    if count != OFFICIAL_FRAMES:
        raise DataError(
            f"NYUDepthV2: {path}: wanted the {OFFICIAL_FRAMES} frames of the built-in split, got {count}: "
            f'pass splits= with the path of a splits.mat, or split="all"'
        )
    return official_split(split)
