"""From a data set to its depth histogram and class counts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from depthattn.data import DataError, NYUDepthV2, SyntheticRooms
from depthattn.data.codes import DEPTH_SUFFIXES
from depthattn.data.depth_files import DepthCoding, read_metres, scale_in_words
from depthattn.data.walk import find_files, in_words
from depthattn.viz import DepthHistogram
from distribution.settings import Settings
from training.baselines import count_classes
from training.sources import evenly

_ROOMS = 64


@dataclass(frozen=True)
class Maps:
    """Depth maps in metres, with labels or None, to be read one by one."""

    title: str
    class_names: tuple[str, ...]
    count: int
    read: Callable[[int], tuple[Any, Tensor | None]]

    def __iter__(self) -> Iterator[tuple[Any, Tensor | None]]:
        return map(self.read, range(self.count))


@dataclass(frozen=True)
class Distribution:
    """What was counted; ``class_counts`` is empty without labels."""

    histogram: DepthHistogram
    class_counts: Tensor


def open_maps(settings: Settings) -> Maps:
    """Open the data set that the command line names.

    Raises:
        DataError: a file or folder that does not fit, named in the message.
    """
    if settings.depths is not None:
        return _folder(settings)
    frames: Any
    if settings.nyu is not None:
        frames = NYUDepthV2(
            settings.nyu, settings.split, splits=settings.splits, num_classes=settings.classes, depth=settings.depth
        )
        title = f"NYU Depth v2, {settings.split} split, {settings.depth} depth"
    else:
        frames, title = SyntheticRooms(settings.frames or _ROOMS), "SyntheticRooms"
    chosen = evenly(len(frames), settings.frames or len(frames))

    def read(index: int) -> tuple[Any, Tensor | None]:
        sample = frames[chosen[index]]
        return sample["depth"], sample["labels"]

    return Maps(title, tuple(frames.class_names), len(chosen), read)


def _folder(settings: Settings) -> Maps:
    folder = settings.depths
    files, skipped = find_files(folder, DEPTH_SUFFIXES, inside=True)
    if not files:
        raise DataError(f"{folder}: expected a folder with depth files, got none ({in_words(skipped) or 'empty'})")
    coding = DepthCoding(settings.depth_scale, settings.depth_code)
    chosen = evenly(len(files), settings.frames or len(files))

    def read(index: int) -> tuple[Any, Tensor | None]:
        return read_metres(files[chosen[index]], coding), None

    return Maps(f"{folder}, {scale_in_words(settings.depth_scale)}", (), len(chosen), read)


def count_maps(maps: Maps, settings: Settings, on_frame: Callable[[], object]) -> Distribution:
    """Count all pixels; calls ``on_frame`` after each frame.

    Raises:
        DataError: no pixel has a depth.
    """
    histogram = DepthHistogram(settings.max_depth, np.zeros(settings.bins, dtype=np.int64))
    counts = torch.zeros(len(maps.class_names), dtype=torch.int64)
    for depth, labels in maps:
        histogram += DepthHistogram.of(depth, max_depth=settings.max_depth, bins=settings.bins)
        if labels is not None:
            counts += count_classes(labels, len(counts))
        on_frame()
    if not histogram.measured:
        raise DataError(f"{maps.title}: expected pixels with a depth, got none")
    return Distribution(histogram, counts)
