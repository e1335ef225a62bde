"""Picture files read with Pillow, with errors that name the file."""

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

SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
# Of these suffixes, by what is in the file. Pillow knows many more; for one of them it starts another program.
FORMATS = ("BMP", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
_SIXTEEN_BIT = frozenset({"I;16", "I;16B", "I;16L", "I"})
# Pillow's decoders raise these on damaged files, beside OSError.
DECODE_ERRORS = (OSError, SyntaxError, ValueError, EOFError, MemoryError, struct.error, zlib.error)


def _decode(path: Path, wanted: str) -> Any:
    """Decoded Pillow image; refuses a picture whose header claims more pixels than Pillow's limit."""
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
    image = _decode(path, "expected an 8-bit picture")
    if image.mode in _SIXTEEN_BIT or image.mode == "F":
        raise DataError(f"RGBDList: {path}: expected an 8-bit picture, got Pillow mode {image.mode}")
    return np.asarray(image.convert("RGB"), dtype=np.uint8)


def read_depth_codes(path: Path) -> npt.NDArray[np.int32]:
    """Stored numbers (H,W) of a 16-bit depth picture, before scaling."""
    image = _decode(path, "expected a 16-bit one-channel depth png")
    if image.mode not in _SIXTEEN_BIT:
        kind = "8-bit" if image.mode in ("1", "L", "P") else "Pillow mode"
        raise DataError(f"RGBDList: {path}: expected a 16-bit one-channel depth png, got {kind} {image.mode}")
    return np.asarray(image).astype(np.int32)


def read_label_codes(path: Path) -> npt.NDArray[np.int64]:
    """Stored numbers (H,W) of a one-channel label picture; of a palette picture, the palette indices."""
    image = _decode(path, "expected a one-channel label png")
    if image.mode not in _SIXTEEN_BIT | {"L", "P"}:
        raise DataError(f"RGBDList: {path}: expected a one-channel label png, got Pillow mode {image.mode}")
    return np.asarray(image).astype(np.int64)
