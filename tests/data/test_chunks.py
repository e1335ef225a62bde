"""Frames unpacked chunk by chunk are those that h5py reads, turned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from depthattn.data import chunks
from depthattn.data.chunks import UprightFrames

Array = np.ndarray[Any, Any]


def values(dtype: str, *, colours: bool) -> Array:
    shape = (5, 3, 7, 10) if colours else (5, 7, 10)
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


# As in the official file: images two frames at a time, and chunks that hang over the border.
@pytest.mark.parametrize(
    ("dtype", "chunk"), [("u1", (2, 1, 4, 3)), (">u2", (1, 4, 3)), ("f4", (2, 7, 10)), ("f8", (5, 2, 4))]
)
def test_deflated_chunks_are_unpacked_without_hdf5(
    tmp_path: Path, dtype: str, chunk: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = values(dtype, colours=len(chunk) == 4)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=stored, chunks=chunk, compression="gzip", compression_opts=3)
    with h5py.File(tmp_path / "a.h5") as file:
        frames = UprightFrames(file["a"])
        monkeypatch.setattr(frames, "_array", _Unread(file["a"]))
        for index in (0, 1, 4):
            frame = frames[index]
            assert (frame.dtype, frame.flags.c_contiguous, frame.flags.writeable) == (stored.dtype, True, True)
            assert (frame == stored[index].swapaxes(-1, -2)).all()


class _Unread:
    """An array that h5py is not to read."""

    def __init__(self, array: Any) -> None:
        self.shape, self.id = array.shape, array.id

    def __getitem__(self, index: int) -> Array:
        raise AssertionError(f"h5py was to read frame {index}")


@pytest.mark.parametrize(
    "storage",
    [
        {},
        {"chunks": (1, 4, 3)},
        {"chunks": (1, 4, 3), "compression": "gzip", "shuffle": True},
        {"chunks": (1, 4, 3), "compression": "gzip", "fletcher32": True},
        {"chunks": (1, 4, 3), "compression": "lzf"},
    ],
    ids=["contiguous", "chunked", "shuffled", "summed", "lzf"],
)
def test_other_storage_is_left_to_h5py(tmp_path: Path, storage: dict[str, Any]) -> None:
    stored = values("f4", colours=False)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=stored, **storage)
    with h5py.File(tmp_path / "a.h5") as file:
        frames = UprightFrames(file["a"])
        assert all((frames[index] == stored[index].T).all() for index in range(5))


def test_chunks_that_were_never_written_are_the_fill_value(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", (4, 7, 10), "f4", chunks=(1, 4, 3), compression="gzip", fillvalue=2.5)
        file["a"][1] = 1.0
    with h5py.File(tmp_path / "a.h5") as file:
        frames = UprightFrames(file["a"])
        assert [float(frames[index].mean()) for index in range(3)] == [2.5, 1.0, 2.5]


def test_without_imagecodecs_h5py_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = values("u1", colours=False)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("a", data=stored, chunks=(2, 4, 3), compression="gzip")
    monkeypatch.setattr(chunks, "_imagecodecs", lambda: None)
    with h5py.File(tmp_path / "a.h5") as file:
        assert (UprightFrames(file["a"])[3] == stored[3].T).all()
