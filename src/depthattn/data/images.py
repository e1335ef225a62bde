"""Image files decoded with Pillow, with errors that name the file."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthattn._extras import require
from depthattn._messages import reason_of
from depthattn.data.errors import DataError
from depthattn.data.hdf5 import FRAME_SUFFIXES, read_hdf5

PHOTO_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Of these suffixes, by what is in the file. Pillow knows many more; for one of them it starts another program.
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Of one channel with numbers that no photo has.
NUMBER_MODES = frozenset({"I;16", "I;16B", "I;16L", "I", "F"})
# Pillow's decoders raise these on damaged files, beside OSError.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error)


def decode(path: Path, wanted: str) -> Any:
    """Decoded Pillow image; refuses an image whose header claims more pixels than Pillow's limit."""
    image_module = require("PIL.Image", extra="nyu", purpose="RGBDList")
    limit = image_module.MAX_IMAGE_PIXELS
    try:
        with image_module.open(path, formats=FORMATS) as image:
            if limit is not None and image.width * image.height > limit:
                raise DataError(
                    f"RGBDList: {path}: {wanted} of at most {limit} pixels (PIL.Image.MAX_IMAGE_PIXELS), "
                    f"got {image.width}x{image.height}"
                )
            image.load()
            return image
    except DataError:
        raise
    except (image_module.DecompressionBombError, image_module.DecompressionBombWarning) as error:
        raise DataError(f"RGBDList: {path}: {wanted} within PIL.Image.MAX_IMAGE_PIXELS, got: {error}") from error
    except DECODE_ERRORS as error:
        reason = reason_of(error)
        raise DataError(f"RGBDList: {path}: {wanted}, got a file that does not decode ({reason})") from error


def read_rgb(path: Path) -> npt.NDArray[np.uint8]:
    """8-bit colours (H,W,3). The orientation tag of a camera is left alone: depth files carry none to match it."""
    wanted = "expected an 8-bit image"
    if path.suffix.lower() in FRAME_SUFFIXES:
        values = read_hdf5(path, "rgb", wanted)
        if values.ndim != 3 or values.shape[0] != 3 or values.dtype != np.uint8:
            raise DataError(
                f"RGBDList: {path}: 'rgb': expected shape (3,H,W) of uint8, got {values.shape} of {values.dtype}"
            )
        return np.ascontiguousarray(values.transpose(1, 2, 0))
    image = decode(path, wanted)
    if image.mode in NUMBER_MODES:
        raise DataError(f"RGBDList: {path}: {wanted}, got Pillow mode {image.mode}")
    return np.asarray(image.convert("RGB"), dtype=np.uint8)
