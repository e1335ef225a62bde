"""Numeric arrays of MATLAB v5 files, every length checked: a damaged file is an error and no crash."""

from __future__ import annotations

import math
import os
import struct
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthattn.data.errors import DataError

_HEADER_BYTES = 128
_BYTE_ORDERS = {b"IM": "<", b"MI": ">"}
_INT8, _INT32, _UINT32, _MATRIX, _COMPRESSED = 1, 5, 6, 14, 15
_ITEMS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_NUMERIC_CLASSES = range(6, 16)
# Function handles and objects of classes follow another layout, without dimensions.
_LAST_PLAIN_CLASS = 15
_COMPLEX = 0x0800
_MAX_DIMENSIONS = 32
_MAX_NAME = 1024
# Deflate expands no further than 1032 times.
_MAX_EXPANSION = 1032
_CHUNK = 1 << 16


class _Malformed(Exception):
    """What is wrong with the file."""


class _Plain:
    """The next ``size`` bytes of a file."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._file = file
        self.left = size

    def take(self, count: int) -> bytearray:
        if count > self.left:
            raise _Malformed(f"an element of {count} bytes where {max(self.left, 0)} are left")
        data = bytearray(count)
        if self._file.readinto(data) != count:
            raise _Malformed("a file that ends early")
        self.left -= count
        return data

    def finish(self) -> None:
        """Nothing to verify: plain elements have no checksum."""


class _Inflated:
    """The bytes that the next ``size`` compressed ones of a file hold."""

    def __init__(self, file: BufferedReader, size: int) -> None:
        self._source = _Plain(file, size)
        self._stream = zlib.decompressobj()
        self.left = size * _MAX_EXPANSION

    def take(self, count: int) -> bytearray:
        data = self._upto(count)
        if len(data) != count:
            raise _Malformed("compressed data that ends early")
        return data

    def finish(self) -> None:
        """Reads the padding and with it the checksum."""
        self._upto(8)
        if not self._stream.eof:
            raise _Malformed("compressed data without its end")

    def _upto(self, count: int) -> bytearray:
        if count > self.left:
            raise _Malformed(f"an element of {count} bytes where at most {self.left} are left")
        data = bytearray()
        while len(data) < count and not self._stream.eof:
            chunk = self._stream.unconsumed_tail or self._source.take(min(self._source.left, _CHUNK))
            try:
                piece = self._stream.decompress(chunk, count - len(data))
            except zlib.error as error:
                raise _Malformed(f"compressed data that does not read ({error})") from error
            if not chunk and not piece:
                break
            data += piece
        self.left -= len(data)
        return data


def _subelement(source: _Plain | _Inflated, order: str, wanted: int) -> tuple[int, bytearray]:
    """Type and bytes of an element of at most ``expected`` bytes, short form included, padding skipped."""
    tag = source.take(8)
    kind, size = struct.unpack(order + "II", tag)
    short = kind >> 16
    if short:
        if short > min(4, wanted):
            raise _Malformed(f"a short element of {short} bytes where {min(4, wanted)} fit")
        return kind & 0xFFFF, tag[4 : 4 + short]
    if size > wanted:
        raise _Malformed(f"an element of {size} bytes where {wanted} fit")
    data = source.take(size)
    source.take(min(-size % 8, source.left))
    return kind, data


def _matrix(source: _Plain | _Inflated, order: str, key: str) -> tuple[str, npt.NDArray[Any] | None]:
    """Name of the matrix that starts here, and its array if that name is ``key``."""
    kind, flags = _subelement(source, order, 8)
    if kind != _UINT32 or len(flags) != 8:
        raise _Malformed("a matrix without array flags")
    word = struct.unpack(order + "I", flags[:4])[0]
    matrix_class = word & 0xFF
    if matrix_class > _LAST_PLAIN_CLASS:
        return "", None
    kind, raw = _subelement(source, order, 4 * _MAX_DIMENSIONS)
    if kind != _INT32 or len(raw) < 8 or len(raw) % 4:
        raise _Malformed("a matrix without dimensions")
    shape = struct.unpack(f"{order}{len(raw) // 4}i", raw)
    kind, text = _subelement(source, order, _MAX_NAME)
    if kind != _INT8:
        raise _Malformed("a matrix without a name")
    name = text.decode("latin-1")
    if name != key:
        return name, None
    if matrix_class not in _NUMERIC_CLASSES or word & _COMPLEX:
        raise _Malformed(f"'{key}' that is no array of real numbers")
    if min(shape) < 0:
        raise _Malformed(f"'{key}' of shape {shape}")
    # MATLAB stores whole numbers in the smallest type that holds them, whatever the class.
    items = math.prod(shape)
    kind, data = _subelement(source, order, 8 * items)
    if kind not in _ITEMS:
        raise _Malformed(f"'{key}' of unknown type {kind}")
    dtype = np.dtype(order + _ITEMS[kind])
    if len(data) != items * dtype.itemsize:
        raise _Malformed(f"'{key}' of shape {shape} in {len(data)} bytes")
    source.finish()
    try:
        array: npt.NDArray[Any] = np.ndarray(shape, dtype, data, order="F")
    except ValueError as error:
        raise _Malformed(f"'{key}' of shape {shape} ({error})") from error
    return name, array.astype(dtype.newbyteorder("="), copy=False)


def _find(file: BufferedReader, key: str) -> npt.NDArray[Any]:
    size = os.fstat(file.fileno()).st_size
    header = file.read(_HEADER_BYTES)
    order = _BYTE_ORDERS.get(header[126:])
    if order is None:
        raise _Malformed("a file that does not read (no MATLAB v5 header)")
    version = struct.unpack(order + "H", header[124:126])[0]
    if version != 0x0100:
        raise _Malformed("a MATLAB v7.3 file" if version == 0x0200 else f"version {version:#06x}")
    names = []
    position = _HEADER_BYTES
    while position < size:
        file.seek(position)
        outer = _Plain(file, size - position)
        kind, length = struct.unpack(order + "II", outer.take(8))
        if kind not in (_MATRIX, _COMPRESSED) or length > outer.left:
            raise _Malformed(f"a damaged element of type {kind} and {length} bytes, {outer.left} left")
        source: _Plain | _Inflated = _Plain(file, length)
        if kind == _COMPRESSED:
            source = _Inflated(file, length)
            kind, inner = struct.unpack(order + "II", source.take(8))
            if kind != _MATRIX or inner > source.left:
                raise _Malformed(f"a damaged compressed element of type {kind} and {inner} bytes")
        if length:
            name, array = _matrix(source, order, key)
            if array is not None:
                return array
            names.append(name)
        position += 8 + length
    # Damaged names may hold line breaks.
    found = ", ".join(sorted(filter(str.isidentifier, names)))
    raise _Malformed(f"no such key (keys: {found or 'none'})")


def read_mat5(path: Path, key: str) -> npt.NDArray[Any]:
    """The array of real numbers that a MATLAB v5 file (``save`` without -v7.3) holds under ``key``.

    Returns:
        The array in its MATLAB shape, at least 2-D, in the type that it is stored in.

    Raises:
        DataError: not such a file, a damaged one, or one without that array.
    """
    try:
        with path.open("rb") as file:
            return _find(file, key)
    except (_Malformed, OSError) as error:
        raise DataError(f"{path}: expected key '{key}' in a MATLAB v5 file, got {error}") from error
