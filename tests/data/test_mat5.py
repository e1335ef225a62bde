"""MATLAB v5 files against scipy, and damaged ones: an error, never a crash or a large allocation."""

import io
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io

from depthattn.data import DataError
from depthattn.data.mat5 import read_mat5

_DTYPES = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
_SHAPES = [(795, 1), (1, 654), (3, 5), (2, 3, 4), (1, 1), (0, 1)]


def _write(path: Path, compress: bool) -> None:
    rows = np.arange(1, 796, dtype=np.uint16)[:, None]
    scipy.io.savemat(path, {"note": "text", "trainNdxs": rows, "testNdxs": rows.T * 2.5}, do_compression=compress)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("dtype", _DTYPES)
def test_equals_scipy(tmp_path: Path, dtype: str, compress: bool) -> None:
    path = tmp_path / "a.mat"
    rng = np.random.default_rng(0)
    for shape in _SHAPES:
        array = rng.integers(0, 100, shape).astype(dtype)
        scipy.io.savemat(path, {"other": {"field": 1}, "text": "x", "pred": array}, do_compression=compress)
        read = read_mat5(path, "pred")
        expected = scipy.io.loadmat(path)["pred"]
        assert read.dtype == expected.dtype
        np.testing.assert_array_equal(read, expected, strict=True)


def test_big_endian(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return struct.pack(">II", kind, len(data)) + data + bytes(-len(data) % 8)

    body = element(6, struct.pack(">II", 6, 0)) + element(5, struct.pack(">ii", 2, 1))
    body += struct.pack(">HH", 1, 1) + b"a\0\0\0" + element(9, struct.pack(">dd", 1.5, -2))
    header = b"MATLAB 5.0".ljust(124) + struct.pack(">H", 0x0100) + b"MI"
    path = tmp_path / "big.mat"
    packed = zlib.compress(element(14, body))
    for content in (element(14, body), struct.pack(">II", 15, len(packed)) + packed):
        path.write_bytes(header + content)
        assert read_mat5(path, "a").tolist() == [[1.5], [-2.0]]


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"pred": np.ones((2, 2)) * 1j}, "'pred' that is no array of real numbers"),
        ({"pred": "text"}, "'pred' that is no array of real numbers"),
        ({"b": 1, "a": 1}, r"no such key \(keys: a, b\)"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(tmp_path: Path, values: dict[str, object], reason: str) -> None:
    scipy.io.savemat(tmp_path / "a.mat", values)
    with pytest.raises(DataError, match=f"a.mat: expected key 'pred' in a MATLAB v5 file, got {reason}"):
        read_mat5(tmp_path / "a.mat", "pred")


def _mutated(content: bytes, rng: np.random.Generator) -> bytes:
    data = bytearray(content)
    # Half of the damage goes into the part that has the lengths.
    end = len(data) if rng.random() < 0.5 else min(len(data), 420)
    match int(rng.integers(3)):
        case 0:
            return bytes(data[: rng.integers(end)])
        case 1:
            for place in rng.integers(0, end, rng.integers(1, 6)):
                data[place] ^= int(rng.integers(1, 256))
        case _:
            place = int(rng.integers(30, (end - 4) // 4)) * 4
            data[place : place + 4] = struct.pack("<I", int(rng.choice([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF])))
    return bytes(data)


@pytest.mark.parametrize("compress", [False, True])
def test_damage_is_an_error_or_an_array_in_bounded_memory(tmp_path: Path, compress: bool) -> None:
    path = tmp_path / "splits.mat"
    _write(path, compress)
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    errors = []
    tracemalloc.start()
    for _ in range(200):
        path.write_bytes(_mutated(content, rng))
        for key in ("trainNdxs", "testNdxs"):
            try:
                assert read_mat5(path, key).dtype.kind in "uif"
            except DataError as error:
                errors.append(str(error))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(errors) > 100
    assert all(str(path) in error and "\n" not in error for error in errors)
    assert peak < 2**21


def test_a_compressed_array_takes_no_more_than_it_declares(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"pred": np.ones((4, 4))})
    plain = buffer.getvalue()
    # The sixteen numbers are followed by 64 MB of zeros.
    packed = zlib.compress(plain[128:] + bytes(2**26))
    (tmp_path / "bomb.mat").write_bytes(plain[:128] + struct.pack("<II", 15, len(packed)) + packed)
    tracemalloc.start()
    with pytest.raises(DataError, match="compressed data without its end"):
        read_mat5(tmp_path / "bomb.mat", "pred")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
