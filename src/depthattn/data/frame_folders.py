"""Frames of folders whose files have equal names."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection
from pathlib import Path

from depthattn.data.codes import DEPTH_SUFFIXES, LABEL_SUFFIXES
from depthattn.data.errors import DataError
from depthattn.data.frame_paths import FramePaths
from depthattn.data.hdf5 import FRAME_SUFFIXES
from depthattn.data.images import PHOTO_SUFFIXES
from depthattn.data.walk import find_files, in_words

IMAGE_SUFFIXES = PHOTO_SUFFIXES | FRAME_SUFFIXES


def by_stem(name: str, folder: Path, suffixes: Collection[str], skipped: Counter[str]) -> dict[str, Path]:
    """The files of ``folder`` and of those inside it, by their path there without suffix, in natural order.

    What is left out is counted in ``skipped``.

    Raises:
        DataError: no folder, no such file in it, or two of one stem; ``name`` says what they were to be.
    """
    if not folder.is_dir():
        raise DataError(f"RGBDList.from_folder: expected {name} to be a folder of files, got {folder}")
    walk = find_files(folder, suffixes, inside=True)
    skipped.update(walk.skipped)
    found: dict[str, Path] = {}
    for path in walk.files:
        stem = str(path.relative_to(folder).with_suffix(""))
        if stem in found:
            raise DataError(
                f"RGBDList.from_folder: {folder}: expected one file of each stem, "
                f"got {found[stem].name} and {path.name}"
            )
        found[stem] = path
    if not found:
        left_out = f" ({in_words(walk.skipped)})" if walk.skipped else ""
        raise DataError(f"RGBDList.from_folder: {folder}: expected {name}, got a folder without such files{left_out}")
    return found


def match_folders(
    images: str | os.PathLike[str],
    depths: str | os.PathLike[str] | None,
    labels: str | os.PathLike[str] | None,
    skipped: Counter[str] | None = None,
) -> list[FramePaths]:
    """Frames of a folder of images, each with the depth and label files of the same stem where there are such.

    An image may lack either. A depth or label file without its image is an error, as it shows that the names do not
    match. What is left out is counted in ``skipped``.
    """
    skipped = Counter() if skipped is None else skipped
    image_files = by_stem("images", Path(images), IMAGE_SUFFIXES, skipped)
    depth_files = {} if depths is None else by_stem("depths", Path(depths), DEPTH_SUFFIXES, skipped)
    label_files = {} if labels is None else by_stem("labels", Path(labels), LABEL_SUFFIXES, skipped)
    for target_files in (depth_files, label_files):
        for stem, path in target_files.items():
            if stem not in image_files:
                raise DataError(f"RGBDList.from_folder: {path}: expected an image {stem}.* in {images}, got none")
    return [FramePaths(path, depth_files.get(stem), label_files.get(stem), None) for stem, path in image_files.items()]
