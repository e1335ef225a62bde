"""Frames from picture files: BTS-style lists and plain folders."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset

from depthattn.data.errors import DataError
from depthattn.data.frame_lists import FramePaths, match_folders, read_list
from depthattn.data.images import read_depth_codes, read_label_codes, read_rgb
from depthattn.data.sample import IGNORE_INDEX, Sample, Transform

# The median of a room or a street lies well inside these; that of millimetres read as metres does not.
_PLAUSIBLE_MEDIAN_M = (0.01, 200.0)
_COMMON_SCALES = (1000, 256, 5000, 1)
_COMMON_MEDIAN_M = (0.3, 80.0)
# Depth cameras and renderers write it for "beyond my range", so it says nothing about the scale.
_SATURATED = 65535


class RGBDList(Dataset[Sample]):
    """Frames whose image and 16-bit depth png are named by a list, or found in folders (:meth:`RGBDList.from_folder`).

    Each line of the list is ``image depth [focal]``, as in the lists of BTS for NYU and KITTI. A leading slash is
    optional, ``None`` stands for a missing depth, and blank lines and lines that start with # are passed over. All
    files are checked to exist when the dataset is made, and decoded when a frame is read. The losses need no focal
    length, so samples have none; ``frames`` has it for what does, as :func:`depthattn.viz.back_project`.

    Args:
        list_file: the list.
        root: folder that the paths in the list start from. None: the folder of the list.
        depth_scale: stored units in a metre: 1000 for NYU (millimetres), 256 for KITTI.
        max_depth: depth beyond it, in metres, becomes missing. None: none does.
        transform: called with each sample.

    Attributes:
        num_classes: number of classes of the label files; 0 if there are none.
        class_names: the names of the classes, their numbers here; empty if there are no label files.
        frames: of each item the files ``image``, ``depth`` and ``labels``, and the ``focal`` length in pixels of the
            image as it is stored; None where there is no such.

    Raises:
        DataError: a list that does not parse or names a missing file; when read, a file that does not decode, a depth
            png that is not 16-bit or whose scale is plainly another, labels out of range, sizes that differ.
        ValueError: an option that is out of range.
        ImportError: Pillow is not installed.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from depthattn.data import DataError, RGBDList
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     list_file = Path(folder, "train.txt")
        ...     _ = list_file.write_text("/room/rgb_0.jpg /room/depth_0.png 518.8579")
        ...     try:
        ...         RGBDList(list_file)
        ...     except DataError as error:
        ...         print(str(error).replace(folder, "here"))
        RGBDList: here/train.txt line 1: expected an existing file, got here/room/rgb_0.jpg
    """

    def __init__(
        self,
        list_file: str | os.PathLike[str],
        root: str | os.PathLike[str] | None = None,
        *,
        depth_scale: float = 1000.0,
        max_depth: float | None = None,
        transform: Transform | None = None,
    ) -> None:
        path = Path(list_file)
        self._set_options(depth_scale, max_depth, transform)
        self.frames: list[FramePaths] = read_list(path, path.parent if root is None else Path(root))

    def _set_options(self, depth_scale: float, max_depth: float | None, transform: Transform | None) -> None:
        if not (math.isfinite(depth_scale) and depth_scale > 0):
            raise ValueError(f"RGBDList: expected depth_scale > 0, got {depth_scale}")
        if max_depth is not None and not max_depth > 0:
            raise ValueError(f"RGBDList: expected max_depth > 0 or None, got {max_depth}")
        self.depth_scale = depth_scale
        self.max_depth = max_depth
        self.transform = transform
        self.num_classes = 0
        self.class_names: tuple[str, ...] = ()
        self._ignore_value = 255
        self._first_label = 0

    @classmethod
    def from_folder(
        cls,
        images: str | os.PathLike[str],
        depths: str | os.PathLike[str] | None = None,
        labels: str | os.PathLike[str] | None = None,
        *,
        num_classes: int | None = None,
        ignore_value: int = 255,
        first_label: int = 0,
        depth_scale: float = 1000.0,
        max_depth: float | None = None,
        transform: Transform | None = None,
    ) -> RGBDList:
        """Frames of a folder of images, with the depth and label pngs of the same file stem.

        An image may lack its depth or its labels; a depth or label file without an image is an error.

        Args:
            images: folder of images.
            depths: folder of 16-bit one-channel pngs, 0 where depth is missing.
            labels: folder of one-channel pngs of class numbers.
            num_classes: number of classes; needed with ``labels``.
            ignore_value: number in the label pngs for unlabelled pixels, which become -100.
            first_label: number in the label pngs for class 0: 0 as a rule; 1 for files that keep 0 for unlabelled
                (then with ``ignore_value=0``).
            depth_scale: stored units in a metre.
            max_depth: depth beyond it, in metres, becomes missing. None: none does.
            transform: called with each sample.

        Raises:
            DataError: a folder without pictures, or files whose stems do not match.
            ValueError: an option that is out of range.
        """
        if (labels is None) != (num_classes is None):
            raise ValueError(
                f"RGBDList.from_folder: expected labels and num_classes together, "
                f"got labels={labels!r} and num_classes={num_classes!r}"
            )
        if num_classes is not None and num_classes < 1:
            raise ValueError(f"RGBDList.from_folder: expected num_classes >= 1, got {num_classes}")
        self = cls.__new__(cls)
        self._set_options(depth_scale, max_depth, transform)
        self.num_classes = num_classes or 0
        self.class_names = tuple(str(number) for number in range(self.num_classes))
        self._ignore_value = ignore_value
        self._first_label = first_label
        self.frames = match_folders(images, depths, labels)
        return self

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = self.frames[index]
        image = torch.from_numpy(read_rgb(frame.image).transpose(2, 0, 1).copy()).float().div_(255.0)
        size = (image.shape[1], image.shape[2])
        depth = torch.zeros(1, *size) if frame.depth is None else self._read_depth(frame.depth)
        labels = torch.full(size, IGNORE_INDEX) if frame.labels is None else self._read_labels(frame.labels)
        for path, found in ((frame.depth, tuple(depth.shape[1:])), (frame.labels, tuple(labels.shape))):
            if found != size:
                raise DataError(
                    f"RGBDList: {path}: expected {size[0]}x{size[1]} (height x width) as {frame.image} has, "
                    f"got {found[0]}x{found[1]}"
                )
        sample: Sample = {"image": image, "depth": depth, "labels": labels}
        return sample if self.transform is None else self.transform(sample)

    def _read_depth(self, path: Path) -> torch.Tensor:
        codes = read_depth_codes(path)
        measured = codes[(codes > 0) & (codes < _SATURATED)]
        if measured.size:
            self._check_scale(path, float(np.median(measured)))
        depth = torch.from_numpy(codes)[None].float().div_(self.depth_scale)
        if self.max_depth is not None:
            depth[depth > self.max_depth] = 0.0
        return depth

    def _check_scale(self, path: Path, median: float) -> None:
        low, high = _PLAUSIBLE_MEDIAN_M
        metres = median / self.depth_scale
        if low <= metres <= high:
            return
        fitting = [
            f"depth_scale={scale} would give {median / scale:.3g} m"
            for scale in _COMMON_SCALES
            if _COMMON_MEDIAN_M[0] <= median / scale <= _COMMON_MEDIAN_M[1]
        ]
        hint = f"; {fitting[0]}" if fitting else ""
        raise DataError(
            f"RGBDList: {path}: expected a median depth in {low:g}..{high:g} m, "
            f"got {metres:g} m with depth_scale={self.depth_scale:g}{hint}"
        )

    def _read_labels(self, path: Path) -> torch.Tensor:
        codes = read_label_codes(path)
        labels = codes - self._first_label
        ignored = codes == self._ignore_value
        outside = ~ignored & ((labels < 0) | (labels >= self.num_classes))
        if outside.any():
            last = self._first_label + self.num_classes - 1
            raise DataError(
                f"RGBDList: {path}: expected labels in {self._first_label}..{last} or {self._ignore_value} (ignored), "
                f"got {codes[outside][0]}"
            )
        labels[ignored] = IGNORE_INDEX
        return torch.from_numpy(labels)
