"""Frames from files: lists, folders of equal names, and layouts that are recognised."""

from __future__ import annotations

import copy
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch.utils.data import Dataset

from depthattn.data.depth_files import DepthCoding, check_depth, read_metres
from depthattn.data.errors import DataError
from depthattn.data.frame_folders import match_folders
from depthattn.data.frame_lists import read_list
from depthattn.data.frame_paths import FramePaths
from depthattn.data.images import read_rgb
from depthattn.data.label_files import LabelCoding, check_labels, read_labels
from depthattn.data.resample import Size, nearest, same_view
from depthattn.data.sample import IGNORE_INDEX, Sample, Transform

_LOG = logging.getLogger("depthattn.data")


class RGBDList(Dataset[Sample]):
    """Frames from files: of a list, of folders (``from_folder``), or of any files (``from_frames``).

    Each line of the list is ``image depth``, then labels, a focal length or both, as in the lists of BTS and Marigold
    and in the csv files of NYU. Columns are separated by commas, tabs or spaces, names with spaces are in double
    quotes, and a header may name the columns. A leading slash is optional, ``None`` stands for a missing depth, and
    empty lines and lines that start with # are skipped. All files are checked to exist when the data set is made, and
    decoded when a frame is read. Samples have no focal length; ``frames`` has it, for
    :func:`depthattn.viz.back_project` and others.

    Depth is read from 16-bit png, pgm or tiff, from floats in tiff, pfm, npy, npz (one array, or one named ``depth``)
    or mat (``depth``), and from HDF5 with ``rgb`` (3,H,W) and ``depth`` (H,W) of one frame. Missing are zero, negative,
    NaN and infinite numbers, 65535 in 16 bits, and the largest half or float. Labels are the numbers of one-channel
    images, or of npy, npz or mat (``segmentation``); of palette images the indices. Depth and labels of another size
    than their image, but of the same view, are resized to it by nearest; the logger ``depthattn.data`` says so once.

    Args:
        list_file: the list.
        root: folder that the paths in the list start from. None: the folder of the list, the first above it that has
            the first image, or the root of the file system, if the list holds absolute paths.
        depth_scale: stored units per metre: 1000 for NYU (millimetres), 256 for KITTI. None: 1000 for integers, 1 for
            floats.
        depth_code: "sunrgbd" for 16-bit numbers rotated left by three bits, "plain" for numbers as they are. None:
            plain, and an error where they are plainly rotated.
        num_classes: number of classes. None: a third column of files is not read, unless a header calls it labels.
        ignore_value: value of unlabelled pixels in the label files, which become -100.
        first_label: value of class 0 in the label files.
        max_depth: depth in metres beyond which depth is missing. None: no limit.
        transform: called with each sample.

    Attributes:
        num_classes: number of classes of the label files; 0 if there are none.
        class_names: the names of the classes, their numbers here; empty if there are no label files.
        frames: for each item a :class:`FramePaths`: the files ``image``, ``depth`` and ``labels``, and the ``focal``
            length in pixels of the stored image; None where there is none.

    Raises:
        DataError: a list that does not parse or names a missing file; when read, a file that does not decode or that
            does not keep numbers, depth whose scale is plainly another, labels out of range, sizes that differ.
        ValueError: an option that is out of range.
        ImportError: the package that reads a file is not installed.

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
        depth_scale: float | None = None,
        depth_code: Literal["plain", "sunrgbd"] | None = None,
        num_classes: int | None = None,
        ignore_value: int = 255,
        first_label: int = 0,
        max_depth: float | None = None,
        transform: Transform | None = None,
    ) -> None:
        depth = DepthCoding(depth_scale, depth_code, max_depth=max_depth)
        labels = None if num_classes is None else LabelCoding(num_classes, ignore_value, first_label)
        check_depth(depth, "RGBDList")
        check_labels(labels, "RGBDList")
        found = read_list(Path(list_file), None if root is None else Path(root), labelled=labels is not None)
        if found.has_labels and labels is None:
            raise DataError(f"RGBDList: {list_file}: expected num_classes for its column of labels, got none")
        self._fill(found.frames, depth, labels if found.has_labels else None, transform)

    def _fill(
        self,
        frames: Sequence[FramePaths],
        depth: DepthCoding,
        labels: LabelCoding | None,
        transform: Transform | None,
    ) -> None:
        self.frames = list(frames)
        self.transform = transform
        self.num_classes = 0 if labels is None else labels.num_classes
        self.class_names = tuple(str(number) for number in range(self.num_classes))
        self._depth = depth
        self._labels = labels
        self._said: set[str] = set()

    @classmethod
    def from_frames(
        cls,
        frames: Sequence[FramePaths],
        depth: DepthCoding | None = None,
        labels: LabelCoding | None = None,
        *,
        transform: Transform | None = None,
    ) -> RGBDList:
        """Make a data set of frames whose files are known.

        Args:
            frames: the files of each.
            depth: how their depth is stored.
            labels: how their labels are stored; None where there are none.
            transform: called with each sample.

        Raises:
            ValueError: an option that is out of range.

        Example:
            >>> import tempfile
            >>> from pathlib import Path
            >>> import numpy as np
            >>> from PIL import Image
            >>> from depthattn.data import FramePaths, RGBDList
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     image, depth = Path(folder, "0.png"), Path(folder, "0.npy")
            ...     Image.new("RGB", (8, 6)).save(image)
            ...     np.save(depth, np.full((6, 8), 2.5))
            ...     frame = RGBDList.from_frames([FramePaths(image, depth, None, None)])[0]
            >>> frame["depth"].unique()
            tensor([2.5000])
        """
        depth = depth or DepthCoding()
        check_depth(depth, "RGBDList.from_frames")
        check_labels(labels, "RGBDList.from_frames")
        self = cls.__new__(cls)
        self._fill(frames, depth, labels, transform)
        return self

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
        depth_scale: float | None = None,
        depth_code: Literal["plain", "sunrgbd"] | None = None,
        max_depth: float | None = None,
        transform: Transform | None = None,
    ) -> RGBDList:
        """Make a data set of a folder of images, with the depth and label files of the same stem.

        An image may lack its depth or its labels; a depth or label file without an image is an error.

        Args:
            images: folder of images.
            depths: folder of depth files, of any kind that the class reads.
            labels: folder of files of class numbers.
            num_classes: number of classes; needed with ``labels``.
            ignore_value: number in the label files for unlabelled pixels, which become -100.
            first_label: number in the label files for class 0: usually 0; 1 for files where 0 means unlabelled (then
                with ``ignore_value=0``).
            depth_scale: stored units per metre. None: 1000 for integers, 1 for floats.
            depth_code: "sunrgbd", "plain" or None, as for the class.
            max_depth: depth in metres beyond which depth is missing. None: no limit.
            transform: called with each sample.

        Raises:
            DataError: a folder without images, or files whose stems do not match.
            ValueError: an option that is out of range.
        """
        if (labels is None) != (num_classes is None):
            raise ValueError(
                f"RGBDList.from_folder: expected labels and num_classes together, "
                f"got labels={labels!r} and num_classes={num_classes!r}"
            )
        depth = DepthCoding(depth_scale, depth_code, max_depth=max_depth)
        coding = None if num_classes is None else LabelCoding(num_classes, ignore_value, first_label)
        check_depth(depth, "RGBDList.from_folder")
        check_labels(coding, "RGBDList.from_folder")
        return cls.from_frames(match_folders(images, depths, labels), depth, coding, transform=transform)

    def with_transform(self, transform: Transform | None) -> RGBDList:
        """Make a data set of the same frames with another transform, without reading files again.

        Args:
            transform: called with each sample; None for none.
        """
        other = copy.copy(self)
        other.transform = transform
        return other

    def with_frames(self, frames: Sequence[FramePaths], depth: DepthCoding | None = None) -> RGBDList:
        """Other frames, read in the same way.

        Args:
            frames: the files of each.
            depth: how their depth is stored, where it is in another way.

        Raises:
            ValueError: an option of ``depth`` that is out of range.
        """
        other = copy.copy(self)
        other.frames = list(frames)
        if depth is not None:
            check_depth(depth, "RGBDList.with_frames")
            other._depth = depth
        return other

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = self.frames[index]
        image = torch.from_numpy(read_rgb(frame.image).transpose(2, 0, 1).copy()).float().div_(255.0)
        size = (image.shape[1], image.shape[2])
        depth, labels = torch.zeros(size), torch.full(size, IGNORE_INDEX)
        if frame.depth is not None:
            depth = self._fitted(torch.from_numpy(read_metres(frame.depth, self._depth)), size, frame.depth, frame)
        if frame.labels is not None and self._labels is not None:
            labels = self._fitted(torch.from_numpy(read_labels(frame.labels, self._labels)), size, frame.labels, frame)
        sample: Sample = {"image": image, "depth": depth[None], "labels": labels}
        return sample if self.transform is None else self.transform(sample)

    def _fitted(self, values: torch.Tensor, size: Size, path: Path, frame: FramePaths) -> torch.Tensor:
        found: Size = (values.shape[0], values.shape[1])
        if found == size:
            return values
        if not same_view(found, size):
            raise DataError(
                f"RGBDList: {path}: expected {size[0]}x{size[1]} (height x width) as {frame.image} has, "
                f"got {found[0]}x{found[1]}"
            )
        kind = "depth" if path is frame.depth else "labels"
        if kind not in self._said:
            self._said.add(kind)
            _LOG.warning(
                f"RGBDList: {path}: {kind} of {found[0]}x{found[1]} are resized to their image's {size[0]}x{size[1]} "
                "by the nearest pixel, here and in other frames"
            )
        return nearest(values, size)
