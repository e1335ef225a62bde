"""The numbers in a one-channel file, as they are stored: no decoder may rescale depth or labels."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthattn._extras import require
from depthattn._messages import reason_of
from depthattn.data.arrays import read_npy, read_npz
from depthattn.data.errors import DataError
from depthattn.data.hdf5 import FRAME_SUFFIXES, MAX_EXPANSION, read_hdf5
from depthattn.data.images import NUMBER_MODES, decode
from depthattn.data.mat5 import read_mat5

# With those that are refused when they are read: a JPEG beside the others is no frame without a depth.
DEPTH_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".mat", ".npy", ".npz", ".pfm", ".pgm", ".png", ".tif", ".tiff", ".webp", *FRAME_SUFFIXES}
)
LABEL_SUFFIXES = DEPTH_SUFFIXES - {".pfm", *FRAME_SUFFIXES}

_LOSSY = frozenset({"JPEG", "MPO", "WEBP"})
_LOSSLESS_TIFF = frozenset({"NONE", "LZW", "DEFLATE", "ADOBE_DEFLATE", "PACKBITS", "LZMA", "ZSTD"})
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_PNG_BITS, _PNG_COLOUR = 24, 25
# Where a header ends, its comments included.
_HEAD = 1 << 14
_BETWEEN = rb"(?:\s|#[^\r\n]*[\r\n])+"
_PGM_HEADER = re.compile(rb"P[25]" + _BETWEEN + rb"\d+" + _BETWEEN + rb"\d+" + _BETWEEN + rb"(\d+)\s")

_Numbers = npt.NDArray[Any]


def read_codes(path: Path, key: str, wanted: str) -> _Numbers:
    """The numbers (H,W) of a file in the type that holds them, of a palette image the indices.

    Args:
        path: an image, or an array in npy, npz, mat (MATLAB v5) or HDF5.
        key: the array's name where the file has several.
        wanted: begins what is expected, in an error.

    Raises:
        DataError: the file does not read, has more than one channel, or is of a kind that does not keep numbers.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = read_npy(path, wanted)
    elif suffix == ".npz":
        values = read_npz(path, key, wanted)
    elif suffix == ".mat":
        values = _from_mat(path, key)
    elif suffix in FRAME_SUFFIXES:
        values = read_hdf5(path, key, wanted)
    else:
        values = _from_picture(path, wanted)
    if values.dtype.kind not in "buif":
        raise DataError(f"RGBDList: {path}: {wanted}, got numbers of type {values.dtype}")
    shape = values.shape
    if values.ndim == 3 and 1 in (shape[0], shape[-1]):
        values = values[0] if shape[0] == 1 else values[..., 0]
    if values.ndim != 2 or 0 in values.shape:
        raise DataError(f"RGBDList: {path}: {wanted} of shape (H,W), got {shape}")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values


def read_depth_codes(path: Path) -> _Numbers:
    """Stored numbers (H,W) of a depth file, before scaling: whole ones, or floats."""
    return read_codes(path, "depth", "expected one-channel depth")


def read_label_codes(path: Path) -> npt.NDArray[np.int64]:
    """Stored class numbers (H,W) of a label file."""
    codes = read_codes(path, "segmentation", "expected one-channel labels")
    if codes.dtype.kind == "f":
        # MATLAB computes in floats, and saves them.
        whole = np.isfinite(codes) & (np.abs(codes) < 2**31) & (codes == np.rint(codes))
        if not whole.all():
            raise DataError(f"RGBDList: {path}: expected whole numbers as labels, got {codes[~whole][0]:g}")
    return codes.astype(np.int64)


def _from_mat(path: Path, key: str) -> _Numbers:
    try:
        return read_mat5(path, key)
    except DataError as error:
        raise DataError(f"RGBDList: {error}") from error


def _from_picture(path: Path, wanted: str) -> _Numbers:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise DataError(f"RGBDList: {path}: {wanted}, got {error.strerror or error}") from error
    # Pillow knows few of the types of numbers that a TIFF can hold.
    if head[:4] in _TIFF:
        return _from_tiff(path, wanted)
    image = decode(path, wanted)
    if image.format in _LOSSY:
        raise DataError(f"RGBDList: {path}: {wanted} in a format that keeps numbers, got {image.format}")
    if image.mode not in NUMBER_MODES | {"1", "L", "P"}:
        raise DataError(f"RGBDList: {path}: {wanted}, got Pillow mode {image.mode}")
    header = _PGM_HEADER.match(head)
    if head[:2] in (b"P2", b"P5") and header is None:
        raise DataError(f"RGBDList: {path}: {wanted}, got a PGM whose header is longer than {_HEAD} bytes")
    if header is not None and head.startswith(b"P5"):
        return _from_binary_pgm(path, header, image.size, wanted)
    values: _Numbers = np.asarray(image)
    if image.mode == "F":
        return values
    values = values.astype(np.uint8 if image.mode in ("1", "L", "P") else np.uint16)
    return _unscaled(head, header, image, values)


def _from_binary_pgm(path: Path, header: re.Match[bytes], size: tuple[int, int], wanted: str) -> _Numbers:
    """The numbers behind the header: Pillow spreads them over all of 8 or 16 bits, and cuts off what is too large."""
    largest = int(header[1])
    dtype = np.dtype(">u2" if largest > 255 else np.uint8)
    values = np.fromfile(path, dtype, count=size[0] * size[1], offset=header.end()).reshape(size[::-1])
    if values.max() > largest:
        raise DataError(
            f"RGBDList: {path}: {wanted} of numbers up to {largest}, as its header says, got {values.max()}"
        )
    return values.astype(dtype.newbyteorder("="))


def _unscaled(head: bytes, header: re.Match[bytes] | None, image: Any, values: _Numbers) -> _Numbers:
    """Pillow spreads the numbers of grey images over all of 8 or 16 bits: bring back those of the file."""
    largest = stored = int(np.iinfo(values.dtype).max)
    if image.format == "PNG" and head[_PNG_COLOUR] == 0 and head[_PNG_BITS] in (2, 4):
        stored = 2 ** head[_PNG_BITS] - 1
    elif header is not None:
        stored = int(header[1])
    if stored == largest:
        return values
    return np.rint(values * (stored / largest)).astype(values.dtype)


@contextlib.contextmanager
def _silence(logger: str) -> Iterator[None]:
    """Keep a logger from saying what ends in an error of ours."""
    log = logging.getLogger(logger)
    before, log.disabled = log.disabled, True
    try:
        yield
    finally:
        log.disabled = before


def _from_tiff(path: Path, wanted: str) -> _Numbers:
    tifffile = require("tifffile", extra="nyu", purpose="RGBDList")
    try:
        with _silence("tifffile"), tifffile.TiffFile(path) as file:
            page = file.pages[0]
            compression = getattr(page.compression, "name", str(page.compression))
            if compression not in _LOSSLESS_TIFF:
                raise DataError(f"RGBDList: {path}: {wanted} in a format that keeps numbers, got TIFF of {compression}")
            if len(file.pages) > 1 and file.pages[1].shape == page.shape:
                raise DataError(f"RGBDList: {path}: {wanted} in a TIFF of one page, got {len(file.pages)} pages")
            if page.nbytes > path.stat().st_size * MAX_EXPANSION:
                raise DataError(f"RGBDList: {path}: {wanted} that fits into its file, got shape {page.shape}")
            values: _Numbers = page.asarray()
            # A number of the file's own that stands for missing ones; 0 where it names none.
            return np.where(values == page.nodata, values.dtype.type(0), values) if page.nodata else values
    except DataError:
        raise
    except Exception as error:
        # Any kind: tifffile believes what a damaged tag says, and stumbles over it in any way there is.
        raise DataError(f"RGBDList: {path}: {wanted}, got a TIFF that does not read ({reason_of(error)})") from error
