"""Frames per second from disk, beside plain h5py on the same frames; and how long a list takes to open.

    python benchmarks/read_frames.py [--nyu MAT] [--frames N] [--workers N ...] [--lines N] [--output DIR]

Without --nyu it writes a file of its own, chunked and deflated as the official one. Frames are read in random order
and end as the float tensors that training takes; plain h5py leaves them as they are stored. What is
read is compared before it is timed. The ways to read take turns; times are medians. A loader's processes are started
before the first round. The result goes into benchmarks/results.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch.utils.data import DataLoader, Subset

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import machine, reading, results
from depthattn.data import NYUDepthV2, RGBDList, SyntheticRooms

KEYS = ("images", "rawDepths", "labels")
# Of the official file: images lie two frames in a chunk.
CHUNKS = {"images": (2, 1, 160, 120), "rawDepths": (1, 80, 120), "labels": (1, 80, 120)}
SIZE = (480, 640)
_ROOMS = 4
_ROUNDS = 5


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks/read_frames.py", description="Frames per second from disk.")
    parser.add_argument("--nyu", type=Path, metavar="MAT", help="the official file; else one that is like it")
    parser.add_argument("--frames", type=int, default=64, metavar="N", help="frames to read (64)")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], metavar="N", help="loader processes (1 2)")
    parser.add_argument("--lines", type=int, default=24_000, metavar="N", help="lines of the list (24000)")
    parser.add_argument("--output", type=Path, default=results.DEFAULT, metavar="DIR",
                        help="where result files go; benchmarks/results by default")  # fmt: skip
    return parser.parse_args(arguments)


def write_like_nyu(path: Path, frames: int, size: tuple[int, int]) -> None:
    """A file in the layout and chunks of the official one, of a few rooms that are shifted from frame to frame."""
    rooms = [SyntheticRooms(_ROOMS, size=size)[index] for index in range(min(_ROOMS, frames))]
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, dtype in zip(KEYS, ("u1", "f4", "u2"), strict=True):
            shape = (frames, 3, size[1], size[0]) if key == "images" else (frames, size[1], size[0])
            chunks = tuple(min(pair) for pair in zip(CHUNKS[key], shape, strict=True))
            array = file.create_dataset(key, shape, dtype, chunks=chunks, compression="gzip", compression_opts=3)
            for index in range(frames):
                array[index] = np.roll(_stored(rooms[index % len(rooms)], key), 7 * index, axis=-1)


def _stored(room: Any, key: str) -> Any:
    if key == "images":
        return room["image"].mul(255).byte().numpy().swapaxes(-1, -2)
    return room["depth"][0].numpy().T if key == "rawDepths" else (room["labels"] + 1).clamp(min=0).numpy().T


def _medians(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of each; they take turns, so that what else runs on the machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(_ROUNDS):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def _read(frames: Iterable[Any]) -> None:
    for _ in frames:
        pass


def frames_per_second(path: Path, frames: int, workers: Sequence[int]) -> dict[str, float]:
    """By way of reading; plain h5py comes first."""
    dataset = NYUDepthV2(path, "all")
    order = np.random.default_rng(0).permutation(len(dataset))[:frames].tolist()
    with h5py.File(path, "r") as file:
        arrays = [file[key] for key in KEYS]
        for index in order[:2]:
            image, depth, _ = (array[index] for array in arrays)
            assert np.array_equal(dataset[index]["image"].mul(255).round().byte().numpy(), image.swapaxes(-1, -2))
            assert np.array_equal(dataset[index]["depth"][0].numpy(), depth.T)
        works: dict[str, Callable[[], object]] = {
            "h5py": lambda: [[array[index] for array in arrays] for index in order],
            "NYUDepthV2": lambda: _read(dataset[index] for index in order),
        }
        for count in workers:
            loader = DataLoader(Subset(dataset, order), batch_size=4, num_workers=count, persistent_workers=True)
            _read(loader)
            works[f"DataLoader, workers {count}"] = lambda loader=loader: _read(loader)
        seconds = _medians(works)
    return {name: len(order) / time for name, time in seconds.items()}


def list_seconds(folder: Path, lines: int) -> tuple[float, float]:
    """Seconds that a list of so many lines takes to open, and those that a look at each of its files takes."""
    for kind, suffix in (("rgb", "jpg"), ("depth", "png")):
        (folder / kind).mkdir()
        for number in range(lines):
            (folder / kind / f"{number:05}.{suffix}").touch()
    listed = folder / "frames.txt"
    listed.write_text("\n".join(f"rgb/{number:05}.jpg depth/{number:05}.png 518.8579" for number in range(lines)))
    files = [file for number in range(lines) for file in (f"rgb/{number:05}.jpg", f"depth/{number:05}.png")]
    seconds = _medians(
        {
            "list": lambda: RGBDList(listed),
            "checks": lambda: [os.path.isfile(folder / file) for file in files],
        }
    )
    return seconds["list"], seconds["checks"]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    result = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": machine.describe(torch.device("cpu")),
        "commit": machine.commit(),
        "versions": machine.versions(),
        "load_average": os.getloadavg()[0],
    }
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        path = options.nyu
        if path is None:
            path = Path(scratch, "like_nyu.mat")
            write_like_nyu(path, options.frames, SIZE)
        rates = frames_per_second(path, options.frames, options.workers)
        opened, checks = list_seconds(Path(scratch), options.lines)
    for name, rate in rates.items():
        print(f"{name:24} {rate:7.1f} frames/s  {rate / rates['h5py']:5.2f} of h5py")
    print(f"list of {options.lines} lines opens in {opened:.2f} s; a look at each of its files takes {checks:.2f} s")
    result |= {
        "frames": options.frames,
        "frames_per_second": rates,
        "list": {"lines": options.lines, "seconds": opened, "seconds_of_checks": checks},
    }
    path = options.output / result["machine"]["slug"] / reading.FOLDER / f"{result['date'][:10]}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results.rounded(result), indent=1, allow_nan=False) + "\n")
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
