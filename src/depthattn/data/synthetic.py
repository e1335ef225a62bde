"""Procedurally ray-cast rooms: a data set that needs no files."""

from __future__ import annotations

import operator

import numpy as np
import torch
from torch.utils.data import Dataset

from depthattn.data.rooms.layout import furnish, place_camera
from depthattn.data.rooms.raycast import cast
from depthattn.data.rooms.scene import CLASS_NAMES
from depthattn.data.rooms.sensor import expose, in_range, seen_by_sensor
from depthattn.data.rooms.shading import shade
from depthattn.data.sample import Sample, Transform


class SyntheticRooms(Dataset[Sample]):
    """Ray-cast rooms with furniture of varied size and texture, and a long-tailed depth from 0.5 to 10 m.

    Each frame shows another room from another camera with the field of view of the Kinect. A frame depends on ``seed``
    and the index only, not on length, worker or order. Most rooms are a few metres deep; corridors and halls are rare
    and far. Depth outside of 0.5 to 10 m is missing.

    Args:
        length: number of frames.
        size: (height, width) of a frame in pixels.
        seed: another seed gives other rooms, say for validation.
        holes: make depth missing where a structured-light sensor fails: beside near edges, on dark or glossy
            surfaces, at grazing angles, far away and at the border. All other depth is exact.
        transform: called with each sample.

    Attributes:
        num_classes: number of classes, 14.
        class_names: the names of the classes, by class id.

    Raises:
        ValueError: an option that is out of range.

    Example:
        >>> from depthattn.data import SyntheticRooms
        >>> frame = SyntheticRooms(8, size=(48, 64))[0]
        >>> frame["image"].shape, frame["depth"].shape, frame["labels"].shape
        (torch.Size([3, 48, 64]), torch.Size([1, 48, 64]), torch.Size([48, 64]))
    """

    def __init__(
        self,
        length: int,
        *,
        size: tuple[int, int] = (120, 160),
        seed: int = 0,
        holes: bool = True,
        transform: Transform | None = None,
    ) -> None:
        if length < 1:
            raise ValueError(f"SyntheticRooms: expected length >= 1, got {length}")
        if len(size) != 2 or min(size) < 1:
            raise ValueError(f"SyntheticRooms: expected size (height, width) of two whole numbers > 0, got {size!r}")
        if seed < 0:
            raise ValueError(f"SyntheticRooms: expected seed >= 0, got {seed}")
        self.length = length
        self.size = (operator.index(size[0]), operator.index(size[1]))
        self.seed = seed
        self.holes = holes
        self.transform = transform
        self.num_classes = len(CLASS_NAMES)
        self.class_names = CLASS_NAMES

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Sample:
        number = operator.index(index)
        if not -self.length <= number < self.length:
            raise IndexError(f"SyntheticRooms: expected an index below {self.length}, got {index}")
        random = np.random.default_rng((self.seed, number % self.length))
        scene, layout = furnish(random)
        camera = place_camera(scene, layout)
        hits = cast(scene.boxes(), camera, self.size)
        radiance, surface = shade(scene, camera, hits, random)
        picture = expose(radiance, self.size, random)
        seen = in_range(hits.depth)
        if self.holes:
            seen &= seen_by_sensor(hits, surface, random)
        depth = np.where(seen, hits.depth, np.float32(0.0))
        sample: Sample = {
            "image": torch.from_numpy(picture.transpose(2, 0, 1).copy()).float().div_(255.0),
            "depth": torch.from_numpy(depth)[None],
            "labels": torch.from_numpy(surface.labels.reshape(self.size)),
        }
        return sample if self.transform is None else self.transform(sample)
