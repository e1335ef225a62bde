"""From settings to the frames to train on and the frames to score."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch.utils.data import Dataset, Subset

from depthattn.data import DataError, NYUDepthV2, RGBDList, Sample, SyntheticRooms, Transform
from depthattn.data.frame_lists import FramePaths
from depthattn.data.images import FORMATS
from depthattn.data.rooms.raycast import focal_length
from depthattn.data.transforms import eval_transform, train_transform
from training.settings import Settings

_HELD_OUT_EVERY = 10


@dataclass(frozen=True)
class Source:
    """The frames of a run.

    Args:
        title: what they are, for the reader.
        train: augmented frames to train on.
        train_plain: the same frames, seen as in validation.
        validation: the frames to score.
        class_names: a name for each class; empty where there are no labels.
        focal: the focal length of a frame to score, in pixels of its picture there; None where the data do not say.
    """

    title: str
    train: Dataset[Sample]
    train_plain: Dataset[Sample]
    validation: Dataset[Sample]
    class_names: tuple[str, ...]
    focal: Callable[[int], float | None]


def open_source(settings: Settings) -> Source:
    """Open both splits and read a frame of each, so that bad data show before anything is written.

    Raises:
        DataError: a file, a line, a key or a value that does not fit, named in the message.
        ValueError: an option of the augmentation that is out of range.
    """
    plain = eval_transform(settings.size)
    augmented = train_transform(settings.size, scale=(1.0, settings.max_scale), jitter=settings.jitter)
    if settings.nyu is not None:
        source = _nyu(settings, augmented, plain)
    elif settings.list is not None or settings.folder is not None:
        source = _pictures(settings, augmented, plain)
    else:
        source = _rooms(settings, augmented, plain)
    for frames in (source.train, source.validation):
        frames[0]
    return source


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
    # Seeds of their own: a room of the training set must not turn up in the validation.
    train, validation = (
        Kept(SyntheticRooms(count, size=settings.size, seed=2 * settings.seed + part))
        for part, count in enumerate(counts)
    )
    title = f"SyntheticRooms, {counts[0]} rooms to train on, {counts[1]} others to score"
    names = SyntheticRooms(1).class_names
    return Source(
        title, Transformed(train, augmented), train, Transformed(validation, plain), tuple(names), _kinect(settings)
    )


def _nyu(settings: Settings, augmented: Transform, plain: Transform) -> Source:
    def frames(split: str, count: int | None, transform: Transform) -> Dataset[Sample]:
        dataset = NYUDepthV2(
            settings.nyu, split, splits=settings.splits, num_classes=settings.classes,
            depth=settings.depth, transform=transform,
        )  # fmt: skip
        return _first(dataset, count)

    train = frames("train", settings.train_frames, augmented)
    validation = frames("test", settings.val_frames, plain)
    names = NYUDepthV2(settings.nyu, [0], num_classes=settings.classes).class_names
    title = f"NYU Depth v2, {len(train)} frames to train on, {len(validation)} to score, {settings.depth} depth"
    train_plain = frames("train", settings.train_frames, plain)
    return Source(title, train, train_plain, validation, names, _kinect(settings))


def _pictures(settings: Settings, augmented: Transform, plain: Transform) -> Source:
    path, validation_path = settings.list or settings.folder, settings.val_list or settings.val_folder
    open_frames: Callable[[Path, Settings, Transform], RGBDList] = _open_list if settings.list else _open_folder
    train, train_plain = (open_frames(path, settings, transform) for transform in (augmented, plain))
    names = tuple(train.class_names)
    if validation_path is None:
        kept, held_out = _hold_out(path, len(train))
        validation = Subset(train_plain, held_out)
        files = [train_plain.frames[index] for index in held_out]
        train, train_plain = Subset(train, kept), Subset(train_plain, kept)
    else:
        validation = open_frames(validation_path, settings, plain)
        files = validation.frames
    train, train_plain = (_first(frames, settings.train_frames) for frames in (train, train_plain))
    validation = _first(validation, settings.val_frames)
    held = " (every tenth frame)" if validation_path is None else ""
    title = f"{path}, {len(train)} frames to train on, {len(validation)} to score{held}"
    return Source(title, train, train_plain, validation, names, lambda index: _focal(files[index], settings.size))


def _hold_out(path: Path, count: int) -> tuple[Sequence[int], Sequence[int]]:
    """Indices to train on and to score: every tenth frame is scored, or the last of fewer."""
    if count < 2:
        raise DataError(f"{path}: expected at least two frames, so that one can be held out, got one")
    step = min(_HELD_OUT_EVERY, count)
    held_out = range(step - 1, count, step)
    return [index for index in range(count) if index not in held_out], held_out


def _open_list(path: Path, settings: Settings, transform: Transform) -> RGBDList:
    return RGBDList(
        path,
        settings.root,
        depth_scale=settings.depth_scale,
        depth_code=settings.depth_code,
        max_depth=settings.max_depth,
        transform=transform,
    )


def _open_folder(path: Path, settings: Settings, transform: Transform) -> RGBDList:
    depths, labels = (folder if (folder := path / name).is_dir() else None for name in ("depths", "labels"))
    if depths is None and labels is None:
        raise DataError(f"{path}: expected a folder depths/ or labels/ beside images/, got neither")
    if labels is not None and settings.num_classes is None:
        raise DataError(f"{labels}: expected --num-classes K, the number of classes in these files, got none")
    return RGBDList.from_folder(
        path / "images",
        depths,
        labels,
        num_classes=settings.num_classes if labels is not None else None,
        ignore_value=settings.ignore_value,
        first_label=settings.first_label,
        depth_scale=settings.depth_scale,
        depth_code=settings.depth_code,
        max_depth=settings.max_depth,
        transform=transform,
    )


def _kinect(settings: Settings) -> Callable[[int], float]:
    return lambda index: focal_length(settings.size)


def _focal(frame: FramePaths, size: tuple[int, int]) -> float | None:
    if frame.focal is None:
        return None
    with Image.open(frame.image, formats=FORMATS) as image:
        # As eval_transform scales the picture.
        return frame.focal * max(size[0] / image.height, size[1] / image.width)


def _first(frames: Any, count: int | None) -> Any:
    return frames if count is None or count >= len(frames) else Subset(frames, range(count))


def evenly(count: int, most: int) -> Sequence[int]:
    """At most ``most`` of ``count`` indices, evenly spaced."""
    if count <= most:
        return range(count)
    return [index * count // most for index in range(most)]
