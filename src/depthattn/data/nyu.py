"""NYU Depth v2: the official labeled .mat file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from depthattn._extras import require
from depthattn._messages import reason_of
from depthattn.data.chunks import UprightFrames
from depthattn.data.classes import class_names, map_labels
from depthattn.data.errors import DataError
from depthattn.data.hdf5 import open_hdf5, stored_array
from depthattn.data.nyu_splits import select_frames
from depthattn.data.sample import Sample, Transform

_DEPTH_KEYS = {"raw": "rawDepths", "inpainted": "depths"}
_PLAUSIBLE_MEDIAN_M = 100.0
# Of each side, for the median: all pixels take a tenth of the time that a frame does.
_SAMPLED = 4
_Array: TypeAlias = npt.NDArray[Any]


@contextlib.contextmanager
def _naming_damage(where: str) -> Iterator[None]:
    """Turn what h5py raises on a damaged file, which is any of four types, into a line that says where it is."""
    try:
        yield
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        reason = reason_of(error)
        raise DataError(f"NYUDepthV2: {where}: expected readable data, got a damaged file ({reason})") from error


def _open_labeled(path: Path) -> Any:
    """Open the labeled file, or say which of the usual wrong files it is."""
    h5py = require("h5py", extra="nyu", purpose="NYUDepthV2")
    wanted = "expected the official nyu_depth_v2_labeled.mat (MATLAB v7.3, which is HDF5)"
    try:
        with path.open("rb") as file:
            header = file.read(128)
    except OSError as error:
        raise DataError(f"NYUDepthV2: {path}: {wanted}, got {error.strerror or error}") from error
    if header.startswith(b"MATLAB 5.0"):
        raise DataError(f"NYUDepthV2: {path}: {wanted}, got a MATLAB v5 file (splits.mat is one: pass it as splits=)")
    if not h5py.is_hdf5(path):
        raise DataError(f"NYUDepthV2: {path}: {wanted}, got {path.stat().st_size} bytes that are not HDF5")
    return open_hdf5(path, f"NYUDepthV2: {path}: {wanted}", "NYUDepthV2")


def _check_array(path: Path, file: Any, key: str, layout: str, kinds: str, dtype: str) -> tuple[int, ...]:
    """Shape of the array at ``key``, after checking that it exists and has the rank and type the layout asks for."""
    array = stored_array(path, file, key, f"NYUDepthV2: {path}", "NYUDepthV2")
    if array.ndim != layout.count(",") + 1:
        raise DataError(f"NYUDepthV2: {path}: '{key}': expected shape {layout}, got {array.shape}")
    if array.dtype.kind not in kinds or (dtype == "uint8" and array.dtype != np.uint8):
        raise DataError(f"NYUDepthV2: {path}: '{key}': expected {dtype}, got {array.dtype}")
    shape: tuple[int, ...] = array.shape
    return shape


def _check_layout(path: Path, file: Any, depth_key: str) -> int:
    """Number of frames, after checking that images, depth and labels agree."""
    images = _check_array(path, file, "images", "(N,3,W,H)", "u", "uint8")
    depths = _check_array(path, file, depth_key, "(N,W,H)", "f", "float metres")
    labels = _check_array(path, file, "labels", "(N,W,H)", "iu", "integers")
    if images[1] != 3 or 0 in images:
        raise DataError(f"NYUDepthV2: {path}: 'images': expected shape (N,3,W,H), got {images}")
    for key, shape in ((depth_key, depths), ("labels", labels)):
        if shape[0] != images[0]:
            raise DataError(f"NYUDepthV2: {path}: '{key}': expected {images[0]} frames as 'images' has, got {shape[0]}")
        if shape[1:] != images[2:]:
            wanted = (images[0], *images[2:])
            raise DataError(f"NYUDepthV2: {path}: '{key}': expected shape {wanted} to fit 'images', got {shape}")
    return images[0]


class NYUDepthV2(Dataset[Sample]):
    """The official labeled set of NYU Depth v2 (Silberman et al. 2012), decoded frame by frame.

    The file is checked when the dataset is made, and opened at the first frame read in each process, so that the
    dataset can be sent to DataLoader workers by fork and by spawn alike.

    Args:
        path: the labeled file, ``nyu_depth_v2_labeled.mat``.
        split: "train", "test", "all", or a sequence of zero-based frame numbers.
        splits: the official ``splits.mat``, or a file with the same two keys, read for "train" and "test". None:
            the built-in official split, which only fits the file of 1449 frames.
        num_classes: 894, 40 or 13. Unlabelled pixels become -100 and the classes start at 0.
        depth: "raw" (sensor depth, 0 in its holes) or "inpainted" (the filled depth of the authors, which also
            differs from the raw depth at measured pixels).
        transform: called with each sample.

    Attributes:
        num_classes: as given.
        class_names: the names of the classes, by class id.
        frames: zero-based frame number in the file of each item.

    Raises:
        DataError: a file that is missing, damaged or laid out otherwise, or a split that does not fit it.
        ValueError: an option that does not exist.
        ImportError: h5py is not installed.

    Example:
        >>> from depthattn.data import NYUDepthV2
        >>> NYUDepthV2("missing.mat")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        depthattn.data.errors.DataError: NYUDepthV2: missing.mat: expected the official ...
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        split: str | Sequence[int] = "train",
        *,
        splits: str | os.PathLike[str] | None = None,
        num_classes: int = 40,
        depth: Literal["raw", "inpainted"] = "raw",
        transform: Transform | None = None,
    ) -> None:
        if depth not in _DEPTH_KEYS:
            raise ValueError(f'NYUDepthV2: expected depth "raw" or "inpainted", got {depth!r}')
        self.class_names = class_names(num_classes)
        self.num_classes = num_classes
        self.transform = transform
        self._path = Path(path)
        self._depth_key = _DEPTH_KEYS[depth]
        self._file: Any = None
        self._arrays: dict[str, UprightFrames] = {}
        self._pid = -1
        with contextlib.closing(_open_labeled(self._path)) as file, _naming_damage(str(self._path)):
            count = _check_layout(self._path, file, self._depth_key)
        self.frames = select_frames(self._path, count, split, None if splits is None else Path(splits))

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        frame = self.frames[index]
        with _naming_damage(f"{self._path}: frame {frame}"):
            arrays = self._open_in_this_process()
            image, depth, labels = (arrays[key][frame] for key in ("images", self._depth_key, "labels"))
        where = f"NYUDepthV2: {self._path}: 'labels' frame {frame}"
        sample: Sample = {
            "image": torch.from_numpy(image).float().div_(255.0),
            "depth": self._metres(depth, frame),
            "labels": map_labels(labels, self.num_classes, where=where),
        }
        return sample if self.transform is None else self.transform(sample)

    def _metres(self, depth: _Array, frame: int) -> torch.Tensor:
        metres = depth.astype(np.float32, copy=False)
        metres[~(np.isfinite(metres) & (metres > 0))] = 0.0
        sample = metres[::_SAMPLED, ::_SAMPLED]
        valid = sample[sample > 0]
        if valid.size and (median := float(np.median(valid))) > _PLAUSIBLE_MEDIAN_M:
            raise DataError(
                f"NYUDepthV2: {self._path}: '{self._depth_key}' frame {frame}: expected depth in metres, "
                f"got a median of {median:g}, which looks like millimetres"
            )
        return torch.from_numpy(metres)[None]

    def _open_in_this_process(self) -> dict[str, UprightFrames]:
        if self._pid != os.getpid():
            # A handle inherited through fork shares HDF5's caches with nobody, but its file offset with the parent.
            self.close()
            self._file = _open_labeled(self._path)
            # Looking an array up reads the index of its chunks: once.
            self._arrays = {key: UprightFrames(self._file[key]) for key in ("images", self._depth_key, "labels")}
            self._pid = os.getpid()
        return self._arrays

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._file is not None:
            self._file.close()
        self._file, self._arrays, self._pid = None, {}, -1

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_file": None, "_arrays": {}, "_pid": -1}
