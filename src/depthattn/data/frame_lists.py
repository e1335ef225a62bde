"""Which picture files make up each frame: BTS-style lists, and folders matched by file stem."""

from __future__ import annotations

import math
import os
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

from depthattn.data.codes import DEPTH_SUFFIXES, LABEL_SUFFIXES
from depthattn.data.errors import DataError
from depthattn.data.hdf5 import FRAME_SUFFIXES
from depthattn.data.images import PHOTO_SUFFIXES
from depthattn.data.walk import find_files, in_words

IMAGE_SUFFIXES = PHOTO_SUFFIXES | FRAME_SUFFIXES


class FramePaths(NamedTuple):
    """Files of one frame, and the focal length of its camera in pixels; None where the frame has no such."""

    image: Path
    depth: Path | None
    labels: Path | None
    focal: float | None


def _focal(where: str, text: str) -> float:
    try:
        focal = float(text)
    except ValueError:
        focal = math.nan
    if not (math.isfinite(focal) and focal > 0):
        raise DataError(f"{where}: expected a focal length in pixels as third column, got {text!r}")
    return focal


def read_list(list_file: Path, root: Path) -> list[FramePaths]:
    """Frames of a list with ``image depth [focal]`` on each line.

    Paths are below ``root`` with or without a leading slash; ``None`` as depth is a frame without depth; blank lines
    and lines that start with # are passed over.
    """
    try:
        text = list_file.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"RGBDList: {list_file}: expected a list of picture files, got {reason}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"RGBDList: {list_file}: expected a list in UTF-8 text, got byte {error.start} outside it"
        ) from error
    if not root.is_dir():
        raise DataError(
            f"RGBDList: expected root to be the folder that the lines of {list_file} start from, got {root}"
        )
    frames = []
    for number, line in enumerate(text.split("\n"), start=1):
        columns = line.split()
        if not columns or columns[0].startswith("#"):
            continue
        where = f"RGBDList: {list_file} line {number}"
        if len(columns) not in (2, 3):
            raise DataError(f"{where}: expected 2 or 3 columns (image, depth, focal), got {len(columns)}")
        focal = _focal(where, columns[2]) if len(columns) == 3 else None
        image = root / columns[0].lstrip("/")
        depth = None if columns[1] == "None" else root / columns[1].lstrip("/")
        for path in (image, depth):
            if path is not None and not _is_file(path):
                raise DataError(f"{where}: expected an existing file, got {path}")
        frames.append(FramePaths(image, depth, None, focal))
    if not frames:
        raise DataError(f"RGBDList: {list_file}: expected at least one line that names an image and a depth, got none")
    return frames


def _is_file(path: Path) -> bool:
    # A line may hold bytes that no file name can: then there is no such file.
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _by_stem(name: str, folder: Path, suffixes: Collection[str]) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"RGBDList.from_folder: expected {name} to be a folder of pictures, got {folder}")
    walk = find_files(folder, suffixes)
    found: dict[str, Path] = {}
    for path in walk.files:
        if path.stem in found:
            raise DataError(
                f"RGBDList.from_folder: {folder}: expected one picture of each stem, "
                f"got {found[path.stem].name} and {path.name}"
            )
        found[path.stem] = path
    if not found:
        skipped = f" ({in_words(walk.skipped)})" if walk.skipped else ""
        raise DataError(f"RGBDList.from_folder: {folder}: expected {name}, got a folder with no pictures{skipped}")
    return found


def match_folders(
    images: str | os.PathLike[str], depths: str | os.PathLike[str] | None, labels: str | os.PathLike[str] | None
) -> list[FramePaths]:
    """Frames of a folder of images, each with the depth and label files of the same stem where there are such.

    An image may lack either. A depth or label file without its image is an error, as it shows that the names do not
    match.
    """
    image_files = _by_stem("images", Path(images), IMAGE_SUFFIXES)
    depth_files = {} if depths is None else _by_stem("depths", Path(depths), DEPTH_SUFFIXES)
    label_files = {} if labels is None else _by_stem("labels", Path(labels), LABEL_SUFFIXES)
    for target_files in (depth_files, label_files):
        for stem, path in target_files.items():
            if stem not in image_files:
                raise DataError(f"RGBDList.from_folder: {path}: expected an image {stem}.* in {images}, got none")
    return [FramePaths(path, depth_files.get(stem), label_files.get(stem), None) for stem, path in image_files.items()]
