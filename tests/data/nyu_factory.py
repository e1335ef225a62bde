"""Small files in the layout of the official labeled NYU file and of its splits.mat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import scipy.io


class Frames(NamedTuple):
    """What was written, upright: images (N,H,W,3), depth and labels (N,H,W)."""

    images: np.ndarray[Any, Any]
    depths: np.ndarray[Any, Any]
    raw_depths: np.ndarray[Any, Any]
    labels: np.ndarray[Any, Any]


def _strings(file: h5py.File, key: str, values: Sequence[str]) -> None:
    """A MATLAB cell array of strings: references to columns of UTF-16 codes."""
    references = np.empty((1, len(values)), dtype=h5py.ref_dtype)
    for number, value in enumerate(values):
        codes = np.array([[ord(letter)] for letter in value], dtype=np.uint16)
        references[0, number] = file["#refs#"].create_dataset(f"{key}{number}", data=codes).ref
    file.create_dataset(key, data=references, dtype=h5py.ref_dtype)


def make_frames(frames: int = 6, size: tuple[int, int] = (48, 64), seed: int = 0) -> Frames:
    """Frames of a sloping floor before a wall, with holes in the raw depth and unlabelled pixels."""
    random = np.random.default_rng(seed)
    height, width = size
    images = random.integers(0, 256, (frames, height, width, 3), dtype=np.uint8)
    rows = np.linspace(4.0, 1.0, height, dtype=np.float32)[None, :, None]
    depths = rows + random.uniform(0.0, 2.0, (frames, 1, width)).astype(np.float32)
    raw_depths = np.where(random.random(depths.shape) < 0.2, np.float32(0.0), depths + np.float32(0.125))
    labels = random.choice(np.array([0, 21, 11, 5, 894], dtype=np.uint16), depths.shape)
    return Frames(images, depths, raw_depths, labels)


def write_frames(path: Path, content: Frames) -> None:
    """Write upright frames as MATLAB v7.3 does: HDF5 behind 512 bytes, axes reversed."""
    count = len(content.images)
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("#refs#")
        file.create_group("#subsystem#")
        file["images"] = content.images.transpose(0, 3, 2, 1)
        file["depths"] = content.depths.transpose(0, 2, 1)
        file["rawDepths"] = content.raw_depths.transpose(0, 2, 1)
        file["labels"] = content.labels.transpose(0, 2, 1)
        file["instances"] = np.zeros(file["labels"].shape, dtype=np.uint8)
        _strings(file, "names", ["book", "bottle"])
        _strings(file, "scenes", [f"room_{number:04d}" for number in range(count)])
        _strings(file, "rawRgbFilenames", [f"room_{number:04d}/r-1.ppm" for number in range(count)])
        file["namesToIds"] = np.zeros((1, 6), dtype=np.uint32)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Thu Jan  1 00:00:00 1970 HDF5 schema 1.00 ."
    with path.open("r+b") as raw:
        raw.write(header.ljust(116) + bytes(8) + b"\x00\x02IM")


def write_labeled_mat(path: Path, frames: int = 6, size: tuple[int, int] = (48, 64), seed: int = 0) -> Frames:
    """Write a labeled file of random frames, and return what is in it."""
    content = make_frames(frames, size, seed)
    write_frames(path, content)
    return content


def write_splits_mat(path: Path, train: Sequence[int], test: Sequence[int]) -> None:
    """Write one-based frame numbers as the official splits.mat holds them."""
    columns = {
        "trainNdxs": np.array(train, dtype=np.uint16).reshape(-1, 1),
        "testNdxs": np.array(test, dtype=np.uint16).reshape(-1, 1),
    }
    scipy.io.savemat(path, columns)
