"""Frames of chunked HDF5 arrays, unpacked chunk by chunk into upright images."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import math
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[Any]


class UprightFrames:
    """Frames of an array (N,...,W,H) as (...,H,W): MATLAB stores columns first, its last axis runs down the image.

    HDF5 unpacks the official file's chunks with zlib and copies each twice before the image is turned. Here
    imagecodecs' libdeflate unpacks them, and a chunk is turned while it is in the processor's cache. What is stored in
    any other way is left to h5py.

    Args:
        array: an h5py dataset.
    """

    def __init__(self, array: Any) -> None:
        self._array = array
        self._codecs = _imagecodecs() if _is_deflated(array) else None
        self._dtype, self._chunk = array.dtype, array.chunks
        self._places = _places(array.shape[1:], array.chunks[1:]) if self._codecs is not None else ()

    def __getitem__(self, index: int) -> _Array:
        if self._codecs is not None:
            # Chunks that are damaged, or that were never written: h5py knows how to refuse or read them.
            with contextlib.suppress(Exception):
                return self._unpacked(index, self._codecs)
        return np.ascontiguousarray(self._array[index].swapaxes(-1, -2))

    def _unpacked(self, index: int, codecs: ModuleType) -> _Array:
        shape, chunk, dtype = self._array.shape, self._chunk, self._dtype
        first, inside = index // chunk[0] * chunk[0], index % chunk[0]
        items = math.prod(chunk)
        read, unpack = self._array.id.read_direct_chunk, codecs.deflate_decode
        frame = np.empty((*shape[1:-2], shape[-1], shape[-2]), dtype)
        turned = frame.swapaxes(-1, -2)
        for corner, place, cut in self._places:
            unfiltered, packed = read((first, *corner))
            content = packed if unfiltered else unpack(packed, out=items * dtype.itemsize)
            turned[place] = np.frombuffer(content, dtype, items).reshape(chunk)[inside][cut]
        return frame


_Slices = tuple[slice, ...]


def _places(shape: tuple[int, ...], chunk: tuple[int, ...]) -> Sequence[tuple[tuple[int, ...], _Slices, _Slices]]:
    """Of each chunk its corner, its place in a frame, and what of it is there: at the border chunks hang over."""
    corners = itertools.product(*(range(0, side, step) for side, step in zip(shape, chunk, strict=True)))
    places = []
    for corner in corners:
        ends = [min(at + step, side) for at, step, side in zip(corner, chunk, shape, strict=True)]
        place = tuple(slice(at, end) for at, end in zip(corner, ends, strict=True))
        places.append((corner, place, tuple(slice(end - at) for at, end in zip(corner, ends, strict=True))))
    return places


def _imagecodecs() -> ModuleType | None:
    try:
        return importlib.import_module("imagecodecs")
    except ImportError:
        return None


def _is_deflated(array: Any) -> bool:
    """Whether the array's chunks are deflated and nothing else."""
    return array.chunks is not None and array.compression == "gzip" and array.id.get_create_plist().get_nfilters() == 1
