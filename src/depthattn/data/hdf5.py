"""Arrays of HDF5 files, looked at before they are read: none leads out of its file or claims more than it can hold."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthattn._extras import require
from depthattn._messages import reason_of
from depthattn.data.errors import DataError

# One frame each: rgb (3,H,W) and depth (H,W).
FRAME_SUFFIXES = frozenset({".h5", ".hdf5"})
# Deflate expands no further than 1032 times, and takes the most of the filters that HDF5 brings.
MAX_EXPANSION = 1032
# HDF5 unpacks a chunk as a whole, whatever part of it is asked for.
_MAX_CHUNK_BYTES = 1 << 28


def open_hdf5(path: Path, expected: str, purpose: str) -> Any:
    """The ``h5py.File`` at ``path``, open for reading.

    Args:
        path: of the file.
        expected: the first words of an error: who reads it, and what was expected.
        purpose: what needs h5py.

    Raises:
        DataError: the file cannot be opened, or not be locked, which HDF5 does to every file that it opens.
    """
    h5py = require("h5py", extra="nyu", purpose=purpose)
    try:
        return h5py.File(path, "r")
    except OSError as error:
        reason = reason_of(error)
        if "unable to lock file" in reason:
            raise DataError(
                f"{expected}, got a refused lock: its file system has none, or another program writes to it; "
                f"with HDF5_USE_FILE_LOCKING=FALSE in the environment it is read without a lock ({reason})"
            ) from error
        raise DataError(f"{expected}, got a truncated or damaged file ({reason})") from error


def stored_array(path: Path, file: Any, key: str, where: str, purpose: str) -> Any:
    """The h5py dataset at ``key`` of ``file``, which is open at ``path``; no number of it is read.

    Args:
        path: of the file.
        file: the open ``h5py.File``.
        key: name of the array.
        where: the first words of an error.
        purpose: what needs h5py.

    Raises:
        DataError: there is no such array, its numbers are in another file, or it claims more than the file can hold.
    """
    h5py = require("h5py", extra="nyu", purpose=purpose)
    # A link could name a file that is not the user's to read, or a device that never ends.
    if isinstance(file.get(key, getlink=True), (h5py.SoftLink, h5py.ExternalLink)):
        raise DataError(f"{where}: '{key}': expected an array in the file itself, got a link")
    array = file.get(key)
    if not isinstance(array, h5py.Dataset):
        # h5py gives names that are not UTF-8 as bytes.
        names = sorted(ascii(name)[1:-1] if isinstance(name, str) else ascii(name) for name in file)
        present = ", ".join(name for name in names if not name.startswith("#")) or "nothing"
        raise DataError(f"{where}: expected key '{key}', got {present}")
    if array.is_virtual or array.external:
        raise DataError(f"{where}: '{key}': expected an array in the file itself, got one whose numbers are elsewhere")
    shape, width = array.shape or (), array.dtype.itemsize
    most = path.stat().st_size * MAX_EXPANSION
    if math.prod(shape) * width > most:
        raise DataError(f"{where}: '{key}': expected an array that fits into its file, got shape {shape}")
    if array.chunks is not None and math.prod(array.chunks) * width > _MAX_CHUNK_BYTES:
        raise DataError(f"{where}: '{key}': expected chunks of at most {_MAX_CHUNK_BYTES} bytes, got {array.chunks}")
    return array


def read_hdf5(path: Path, key: str, wanted: str) -> npt.NDArray[Any]:
    """The whole array at ``key`` of the file of one frame.

    Raises:
        DataError: the file does not read, or has no such array; ``wanted`` begins what is expected.
    """
    where = f"RGBDList: {path}"
    try:
        with open_hdf5(path, f"{where}: {wanted} in HDF5", "RGBDList") as file:
            return np.asarray(stored_array(path, file, key, where, "RGBDList"))
    except DataError:
        raise
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = reason_of(error)
        raise DataError(f"{where}: {wanted} in HDF5, got a file that does not read ({reason})") from error
