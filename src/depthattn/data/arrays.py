"""Arrays in NumPy's own files, looked at before they are read: none runs code or claims more than it can hold."""

from __future__ import annotations

import math
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from depthattn._messages import reason_of
from depthattn.data.errors import DataError
from depthattn.data.hdf5 import MAX_EXPANSION

_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def read_npy(path: Path, wanted: str) -> npt.NDArray[Any]:
    """The array of an npy file.

    Raises:
        DataError: no such file, a damaged one, or one of Python objects; ``wanted`` begins what is expected.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except Exception as error:
        # Any kind: NumPy evaluates the text of a header, and a damaged one fails in any way there is.
        raise DataError(
            f"RGBDList: {path}: {wanted} in npy, got a file that does not read ({reason_of(error)})"
        ) from error


def read_npz(path: Path, key: str, wanted: str) -> npt.NDArray[Any]:
    """The only array of an npz file, or that of name ``key``.

    Raises:
        DataError: as :func:`read_npy`, and for several arrays of which none is ``key``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            if len(names) != 1 and key not in names:
                got = ", ".join(ascii(name) for name in names) or "none"
                raise DataError(f"RGBDList: {path}: expected one array, or one named {key!r}, got {got:.200}")
            info = archive.infolist()[names.index(key) if key in names else 0]
            with archive.open(info) as file:
                return _read(file, min(info.file_size, MAX_EXPANSION * path.stat().st_size))
    except DataError:
        raise
    except Exception as error:
        # Any kind: besides NumPy's, those of zipfile and of each of its compressions.
        raise DataError(
            f"RGBDList: {path}: {wanted} in npz, got a file that does not read ({reason_of(error)})"
        ) from error


def _read(file: IO[bytes], size: int) -> npt.NDArray[Any]:
    """The array that starts here, of which there are at most ``size`` bytes."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise ValueError(f"format version {version}")
    shape, by_columns, dtype = _HEADERS[version](file)
    bytes_claimed = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or not 0 <= bytes_claimed <= size:
        raise ValueError(f"shape {shape} of {dtype} in {size} bytes")
    data = file.read(bytes_claimed)
    return np.frombuffer(data, dtype).reshape(shape, order="F" if by_columns else "C")
