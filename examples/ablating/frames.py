"""The frames of a trial."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from ablating.settings import Settings
from depthattn.data import NYUDepthV2, Sample, SyntheticRooms
from depthattn.data.transforms import eval_transform, train_transform
from training.baselines import count_classes
from training.sources import Kept, Transformed


@dataclass(frozen=True)
class Frames:
    """Training and validation frames in memory.

    Args:
        title: what they are, for the reader.
        train: augmented frames to train on.
        validation: other frames to score.
        class_names: a name for each class.
        class_counts: pixels of each class in the training frames, not augmented, (K,).
    """

    title: str
    train: Dataset[Sample]
    validation: Dataset[Sample]
    class_names: tuple[str, ...]
    class_counts: Tensor


def open_frames(settings: Settings, seed: int) -> Frames:
    """The frames of ``seed``: rooms of its own, or those of NYU's official split, which are the same for all.

    Args:
        settings: of the ablation.
        seed: of the rooms.

    Raises:
        DataError: a file that cannot be used, named in the message.
    """
    if settings.nyu is None:
        name = f"SyntheticRooms of seed {seed}"
        names = SyntheticRooms(1).class_names
        # No room may turn up in two sets, nor under two seeds.
        sets = [
            SyntheticRooms(count or 1, size=settings.size, seed=2 * seed + part)
            for part, count in enumerate((settings.train_frames, settings.val_frames))
        ]
    else:
        name = f"NYU Depth v2 ({settings.classes} classes)"
        names = NYUDepthV2(settings.nyu, [0], num_classes=settings.classes).class_names
        sets = [_nyu(settings, "train", settings.train_frames), _nyu(settings, "test", settings.val_frames)]
    train, validation = (Kept(frames) for frames in sets)
    counts = torch.zeros(len(names), dtype=torch.int64)
    for index in range(len(train)):
        counts += count_classes(train[index]["labels"], len(names))
    augment = train_transform(settings.size, scale=(1.0, settings.max_scale), jitter=settings.jitter)
    title = f"{name}, {len(train)} frames to train on, {len(validation)} others to score"
    return Frames(title, Transformed(train, augment), validation, tuple(names), counts)


def _nyu(settings: Settings, split: str, count: int | None) -> Dataset[Sample]:
    frames = NYUDepthV2(
        settings.nyu, split, splits=settings.splits, num_classes=settings.classes,
        transform=eval_transform(settings.size),
    )  # fmt: skip
    return frames if count is None or count >= len(frames) else Subset(frames, range(count))
