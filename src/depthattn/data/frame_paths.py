"""The files of a frame, and whether they are there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple


class FramePaths(NamedTuple):
    """Files of one frame.

    Attributes:
        image: the image, or an HDF5 file with ``rgb`` (3,H,W).
        depth: the depth file; None where there is none.
        labels: the label file; None where there is none.
        focal: focal length of the camera in pixels of the stored image; None where it is not known.

    Example:
        >>> from pathlib import Path
        >>> from depthattn.data import FramePaths
        >>> FramePaths(Path("rgb/0.jpg"), Path("depth/0.npy"), None, None).depth.name
        '0.npy'
    """

    image: Path
    depth: Path | None
    labels: Path | None
    focal: float | None


class KnownFiles:
    """Which files there are, by one listing of each folder: a look at every file would wait for the disk each time."""

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        folder, name = os.path.split(path)
        try:
            if folder not in self._names:
                self._names[folder] = _files(folder)
            # What the listing does not show may be there all the same, as on a disk that ignores case.
            return name in self._names[folder] or os.path.isfile(path)
        except (OSError, ValueError):
            # The text may hold what no file name can: then there is no such file.
            return False


def _files(folder: str) -> frozenset[str]:
    try:
        with os.scandir(folder) as entries:
            return frozenset(entry.name for entry in entries if entry.is_file())
    except OSError:
        return frozenset()
