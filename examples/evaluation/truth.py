"""The frames to score against."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset, Subset

from depthattn.data import NYUDepthV2, RGBDList, Sample, SyntheticRooms
from depthattn.data.depth_files import scale_in_words
from evaluation.settings import SYNTHETIC_SIZE, Settings

_ROOMS = 64


@dataclass(frozen=True)
class Truth:
    """Frames with true depth at their full size, what they are, for the reader, and the names of their classes."""

    title: str
    frames: Dataset[Sample]
    class_names: tuple[str, ...]


def open_truth(settings: Settings) -> Truth:
    """Open the data that the command line names.

    Raises:
        DataError: a file, a line or a key that does not fit, named in the message.
    """
    frames: Any
    if settings.nyu is not None:
        frames = NYUDepthV2(
            settings.nyu, settings.split, splits=settings.splits, num_classes=settings.classes, depth=settings.depth
        )
        title = f"NYU Depth v2, {settings.split} split, {settings.depth} depth"
    elif settings.list is not None:
        frames = RGBDList(settings.list, settings.root, depth_scale=settings.depth_scale)
        title = f"{settings.list}, {scale_in_words(settings.depth_scale)}"
    else:
        # A seed that the training script does not use.
        frames = SyntheticRooms(settings.frames or _ROOMS, size=SYNTHETIC_SIZE, seed=2_000_003)
        title = "SyntheticRooms"
    names = tuple(frames.class_names)
    if settings.frames is not None and settings.frames < len(frames):
        frames = Subset(frames, range(settings.frames))
        title += f", the first {settings.frames} frames"
    return Truth(title, frames, names)
