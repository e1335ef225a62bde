"""Photos on disk: which files they are, and their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from depthattn._messages import reason_of
from depthattn.data import DataError
from depthattn.data.images import DECODE_ERRORS, FORMATS, NUMBER_MODES, PHOTO_SUFFIXES
from depthattn.data.walk import find_files, in_words
from prediction.pictures import is_ours


def find_photos(given: Sequence[Path]) -> tuple[Path, ...]:
    """The files of the command line, and those in its folders that this script has not written itself.

    Raises:
        ValueError: a name leads nowhere, a folder has no photo, or two photos would have one name.
    """
    photos: list[Path] = []
    for path in given:
        if path.is_dir():
            files, skipped = find_files(path, PHOTO_SUFFIXES)
            found = [file for file in files if not is_ours(file)]
            if not found:
                got = in_words(skipped) or ("only images that predict.py wrote" if files else "an empty folder")
                raise ValueError(f"{path}: expected a folder with photos, got none ({got})")
            photos += found
        elif path.is_file():
            photos.append(path)
        else:
            raise ValueError(f"{path}: expected a photo or a folder of photos, got neither")
    by_name: dict[str, Path] = {}
    for photo in photos:
        other = by_name.setdefault(photo.stem.casefold(), photo)
        if other is not photo:
            raise ValueError(f"{photo}: expected photos of different names, got {other} as well")
    return tuple(photos)


def read_photo(path: Path) -> npt.NDArray[np.uint8]:
    """RGB pixels (H, W, 3), upright as the camera's orientation tag says.

    Raises:
        DataError: the file is no image that Pillow reads, a map of depths, or a result of this script.
    """
    if is_ours(path):
        raise DataError(f"{path}: expected a photo, got an image that predict.py wrote")
    try:
        with Image.open(path, formats=FORMATS) as image:
            if image.mode in NUMBER_MODES:
                raise DataError(
                    f"{path}: expected a photo, got one channel of numbers, as depth maps have (Pillow mode "
                    f"{image.mode})"
                )
            # A copy: torch takes no array that it may not write to.
            return np.array(ImageOps.exif_transpose(image).convert("RGB"), dtype=np.uint8)
    except DataError:
        raise
    except (*DECODE_ERRORS, Image.DecompressionBombError) as error:
        reason = reason_of(error)
        raise DataError(f"{path}: expected a photo, got a file that does not decode ({reason})") from error
