"""The frames to score against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import Dataset

from depthattn.data import NYUDepthV2, RGBDList, Sample, SyntheticRooms
from depthattn.data.depth_files import DepthCoding, scale_in_words
from depthattn.data.label_files import given_labels
from depthattn.data.layouts import find_layout
from evaluation.pairing import FrameName
from evaluation.settings import SYNTHETIC_SIZE, Settings

_ROOMS = 64


@dataclass(frozen=True)
class Truth:
    """Frames with true depth at their full size.

    Args:
        title: what they are, for the reader.
        frames: all of the data.
        count: how many of them, from the first on, are scored.
        class_names: the names of the classes.
        names: of each frame.
    """

    title: str
    frames: Dataset[Sample]
    count: int
    class_names: tuple[str, ...]
    names: Sequence[FrameName]


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
        names = [FrameName(f"frame {number}", number=number) for number in frames.frames]
    elif settings.list is not None or settings.folder is not None:
        frames, title = _list(settings) if settings.list is not None else _folder(settings)
        title += f", {scale_in_words(settings.depth_scale)}"
        names = [
            FrameName(str(frame.image), tuple(file for file in (frame.image, frame.depth) if file is not None))
            for frame in frames.frames
        ]
    else:
        # A seed that the training script does not use.
        frames = SyntheticRooms(settings.frames or _ROOMS, size=SYNTHETIC_SIZE, seed=2_000_003)
        title = "SyntheticRooms"
        names = [FrameName(f"room {number}", number=number) for number in range(len(frames))]
    count = min(len(frames), settings.frames or len(frames))
    if count < len(frames):
        title += f", the first {count} of {len(frames)} frames"
    return Truth(title, frames, count, tuple(frames.class_names), names)


def _list(settings: Settings) -> tuple[RGBDList, str]:
    frames = RGBDList(
        settings.list,
        settings.root,
        depth_scale=settings.depth_scale,
        depth_code=settings.depth_code,
        num_classes=settings.num_classes,
        ignore_value=_or(settings.ignore_value, 255),
        first_label=_or(settings.first_label, 0),
    )
    return frames, str(settings.list)


def _folder(settings: Settings) -> tuple[RGBDList, str]:
    """The frames for validation, where the layout tells them apart, else all."""
    layout = find_layout(settings.folder, settings.layout)
    labels = None
    # Labels can be scored only where it is known how many classes they have.
    if layout.has_labels:
        labels = given_labels(layout.labels, settings.num_classes, settings.ignore_value, settings.first_label)
    depth = DepthCoding(settings.depth_scale, settings.depth_code, layout.missing_depth)
    frames = RGBDList.from_frames(layout.validation or layout.train, depth, labels)
    return frames, f"{settings.folder} ({layout.words})"


def _or(given: int | None, usual: int) -> int:
    return usual if given is None else given
