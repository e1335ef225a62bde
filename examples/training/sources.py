"""From settings to the frames to train on and the frames to score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset, Subset

from depthattn.data import DataError, NYUDepthV2, Sample, SyntheticRooms, Transform
from depthattn.data.frame_paths import FramePaths
from depthattn.data.images import FORMATS
from depthattn.data.rooms.raycast import focal_length
from depthattn.data.transforms import Compose, eval_transform, train_transform
from training.hold_out import blocks, in_words
from training.picture_files import open_pictures
from training.settings import Settings


@dataclass(frozen=True)
class Source:
    """The frames of a run.

    Args:
        title: what they are, for the reader.
        train: augmented frames to train on.
        train_plain: the same frames, seen as in validation.
        validation: the frames to score.
        class_names: a name for each class; empty where there are no labels.
        focal: the focal length of a frame to score, in pixels of its image there; None where the data do not say.
        notes: what a reader should know of the data, a line each.
    """

    title: str
    train: Dataset[Sample]
    train_plain: Dataset[Sample]
    validation: Dataset[Sample]
    class_names: tuple[str, ...]
    focal: Callable[[int], float | None]
    notes: tuple[str, ...] = ()


def open_source(settings: Settings) -> Source:
    """Open both splits and read a frame of each, so that bad data show before anything is written.

    Raises:
        DataError: a file, a line, a key or a value that does not fit, named in the message.
        ValueError: an option of the augmentation that is out of range.
    """
    # Before any zoom, which would bring what is too far nearer.
    within = WithinRange(settings.max_depth)
    plain = Compose([within, eval_transform(settings.size)])
    augmented = Compose(
        [within, train_transform(settings.size, scale=(1.0, settings.max_scale), jitter=settings.jitter)]
    )
    if settings.nyu is not None:
        source = _nyu(settings, augmented, plain)
    elif settings.list is not None or settings.folder is not None:
        source = _pictures(settings, augmented, plain)
    else:
        source = _rooms(settings, augmented, plain)
    for frames in (source.train, source.validation):
        frames[0]
    return source


class WithinRange:
    """Makes depth missing that is farther than ``max_depth`` metres: neither loss nor score is to see it."""

    def __init__(self, max_depth: float) -> None:
        self.max_depth = max_depth

    def __call__(self, sample: Sample) -> Sample:
        depth = sample["depth"]
        return {**sample, "depth": depth.where(depth <= self.max_depth, 0.0)}


class Transformed(Dataset[Sample]):
    """Frames of another dataset, transformed."""

    def __init__(self, frames: Dataset[Sample], transform: Transform) -> None:
        self.frames = frames
        self.transform = transform

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        return self.transform(self.frames[index])


class Kept(Dataset[Sample]):
    """Frames that are made once and then kept, in the fewest bytes that lose nothing of an 8-bit image."""

    def __init__(self, frames: Dataset[Sample]) -> None:
        self.frames = frames
        self._kept: dict[int, tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = {}

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        if index not in self._kept:
            sample = self.frames[index]
            image = sample["image"].mul(255).round().byte()
            self._kept[index] = (image, sample["depth"], sample["labels"].to(torch.int16))
        image, depth, labels = self._kept[index]
        return {"image": image.float().div_(255), "depth": depth, "labels": labels.long()}


def _rooms(settings: Settings, augmented: Transform, plain: Transform) -> Source:
    counts = settings.train_frames or 1, settings.val_frames or 1
    # Seeds of their own: a room of the training set must not turn up in the validation. Without holes: a sensor's lie
    # along the edges of furniture, of which a short training then sees nothing.
    train, validation = (
        Kept(SyntheticRooms(count, size=settings.size, seed=2 * settings.seed + part, holes=False))
        for part, count in enumerate(counts)
    )
    title = f"SyntheticRooms, {counts[0]} rooms to train on, {counts[1]} others to score"
    names = SyntheticRooms(1).class_names
    return Source(
        title,
        Transformed(train, augmented),
        Transformed(train, plain),
        Transformed(validation, plain),
        tuple(names),
        _kinect(settings),
    )


def _nyu(settings: Settings, augmented: Transform, plain: Transform) -> Source:
    """The official training frames, a part of them held out: those to test on are for the end, not for choices."""

    def frames(chosen: str | Sequence[int], count: int | None, transform: Transform) -> Any:
        dataset = NYUDepthV2(
            settings.nyu, chosen, splits=settings.splits, num_classes=settings.classes,
            depth=settings.depth, transform=transform,
        )  # fmt: skip
        return _first(dataset, count)

    # A file of splits that does not fit shows now, not when the trained network is tested.
    frames("test", None, plain)
    official = sorted(frames("train", None, plain).frames)
    if len(official) < 2:
        raise DataError(f"{settings.nyu}: expected two frames to train on, so that one can be held out, got one")
    runs = blocks(len(official))
    held_out = [official[place] for run in runs for place in run]
    kept = sorted(set(official) - set(held_out))
    train, train_plain = (frames(kept, settings.train_frames, transform) for transform in (augmented, plain))
    validation = frames(held_out, settings.val_frames, plain)
    names = frames([0], None, plain).class_names
    title = (
        f"NYU Depth v2, {len(train)} frames to train on, {len(validation)} to score ({in_words(runs)} of the official "
        f"training frames), {settings.depth} depth"
    )
    return Source(title, train, train_plain, validation, names, _kinect(settings))


def _pictures(settings: Settings, augmented: Transform, plain: Transform) -> Source:
    found = open_pictures(settings)
    train = _first(found.train.with_transform(augmented), settings.train_frames)
    train_plain = _first(found.train.with_transform(plain), settings.train_frames)
    validation = _first(found.validation.with_transform(plain), settings.val_frames)
    files = found.validation.frames
    return Source(
        found.title,
        train,
        train_plain,
        validation,
        found.train.class_names,
        lambda index: _focal(files[index], settings.size),
        found.notes,
    )


def _kinect(settings: Settings) -> Callable[[int], float]:
    return lambda index: focal_length(settings.size)


def _focal(frame: FramePaths, size: tuple[int, int]) -> float | None:
    if frame.focal is None:
        return None
    with Image.open(frame.image, formats=FORMATS) as image:
        # As eval_transform scales the image.
        return frame.focal * max(size[0] / image.height, size[1] / image.width)


def _first(frames: Any, count: int | None) -> Any:
    return frames if count is None or count >= len(frames) else Subset(frames, range(count))


def evenly(count: int, most: int) -> Sequence[int]:
    """At most ``most`` of ``count`` indices, evenly spaced."""
    if count <= most:
        return range(count)
    return [index * count // most for index in range(most)]
