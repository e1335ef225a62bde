"""The files of data sets: MATLAB's two formats, pictures, and lists of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import scipy.io
import tifffile
from PIL import Image
from tests.data.nyu_factory import write_labeled_mat, write_splits_mat
from tests.data.raw_files import write_pgm
from tests.files import damage
from tests.files.damage import Random, pick
from tests.files.kind import Kind, spoils

from depthattn.data import RGBDList, find_layout
from depthattn.data.frame_paths import FramePaths
from depthattn.data.nyu import NYUDepthV2
from depthattn.data.nyu_splits import select_frames


def _frames(dataset: Any) -> None:
    for index in range(min(len(dataset), 3)):
        dataset[index]


# MATLAB v5


def _make_splits(folder: Path) -> None:
    write_splits_mat(folder / "plain.mat", [1, 2, 3], [4, 5])
    content = scipy.io.loadmat(folder / "plain.mat")
    scipy.io.savemat(folder / "packed.mat", {k: v for k, v in content.items() if k[0] != "_"}, do_compression=True)


_SPOIL_SPLITS = spoils("plain.mat", "packed.mat", by=damage.damaged_bytes)


def _read_splits(folder: Path) -> None:
    for name in ("plain.mat", "packed.mat"):
        select_frames(folder / "labeled.mat", 6, "train", folder / name)


# MATLAB v7.3, which is HDF5


def _make_labeled(folder: Path) -> None:
    write_labeled_mat(folder / "plain.mat", frames=2, size=(6, 8))
    with h5py.File(folder / "plain.mat") as plain, h5py.File(folder / "packed.mat", "w", userblock_size=512) as packed:
        for name in ("images", "depths", "rawDepths", "labels"):
            chunks = (1, *plain[name].shape[1:])
            packed.create_dataset(
                name, data=plain[name], chunks=chunks, compression="gzip", fletcher32=name == "labels"
            )


def _arrays(folder: Path, name: str, random: Random) -> None:
    """Arrays that HDF5 itself wrote: of another shape, type or storage, in another file, or not there."""
    key = pick(random, ("images", "rawDepths", "labels"))
    with h5py.File(folder / name, "r+") as file:
        old = file[key][()]
        del file[key]
        shape = pick(random, ((), (0,), (2,), old.shape[::-1], (2, 3, 8, 6, 1), (2, 0, 8, 6), (0, *old.shape[1:])))
        huge = (2**40, *old.shape[1:]), (2, *(2**20 for _ in old.shape[1:])), (2**62, 3, 8, 6)
        change = int(random.integers(12))
        if change == 0:
            file.create_dataset(key, shape, old.dtype)
        elif change == 1:
            # Nothing is stored of it: every number is the fill value.
            file.create_dataset(key, pick(random, huge)[: old.ndim], old.dtype, chunks=(1,) * old.ndim)
        elif change == 2:
            file[key] = h5py.ExternalLink(str(folder / "other.mat"), key)
        elif change == 3:
            file[key] = h5py.SoftLink(pick(random, ("/nowhere", f"/{key}", "/depths", "/")))
        elif change == 4:
            file.create_dataset(key, old.shape, old.dtype, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
        elif change == 5:
            layout = h5py.VirtualLayout(old.shape, old.dtype)
            layout[...] = h5py.VirtualSource(str(folder / "other.mat"), key, old.shape)
            file.create_virtual_dataset(key, layout)
        elif change == 6:
            types = ("S8", "f2", "f8", "i8", "u1", "u8", "?", "c8", h5py.string_dtype(), h5py.ref_dtype, [("a", "f4")])
            file.create_dataset(key, old.shape, np.dtype(pick(random, types)))
        elif change == 7:
            file.create_group(key)
        elif change == 8:
            # One chunk of gigabytes, of which nothing is stored.
            sides = {"chunks": (2**28, *(1,) * (old.ndim - 1)), "maxshape": (None,) * old.ndim}
            file.create_dataset(key, old.shape, old.dtype, compression="gzip", **sides)
        elif change == 9:
            file[key] = h5py.Empty(old.dtype)
        elif change == 10:
            file[key] = np.full_like(old, pick(random, (0, 1, 255) if key == "images" else (0, 894, 65535)))
        else:
            file[key] = np.dtype("f4")


def _spoil_labeled(folder: Path, random: Random) -> None:
    name = pick(random, ("plain.mat", "packed.mat"))
    if random.random() < 0.3:
        _arrays(folder, name, random)
    else:
        spoils(name, by=damage.damaged_bytes)(folder, random)


def _read_labeled(folder: Path) -> None:
    for name in ("plain.mat", "packed.mat"):
        dataset = NYUDepthV2(folder / name, "all")
        _frames(dataset)
        dataset.close()


# Pictures and lists

_FORMATS = ("png", "jpg", "bmp", "tif", "webp", "ppm")


def _make_pictures(folder: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("images", "depths", "labels"):
        (folder / name).mkdir()
    for index, suffix in enumerate(_FORMATS):
        pixels = random.integers(0, 255, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{index}.{suffix}")
        metres = random.integers(700, 5000, (12, 16)).astype(np.uint16)
        Image.fromarray(metres).save(folder / "depths" / f"{index}.png")
        Image.fromarray(random.integers(0, 3, (12, 16), dtype=np.uint8)).save(folder / "labels" / f"{index}.png")
    lines = [f"/images/{index}.{suffix} depths/{index}.png 518.86" for index, suffix in enumerate(_FORMATS)]
    (folder / "frames.txt").write_text("\n".join(lines))


def _read_folder(folder: Path) -> None:
    dataset = RGBDList.from_folder(folder / "images", folder / "depths", folder / "labels", num_classes=3)
    for index in range(len(dataset)):
        dataset[index]


def _read_list(folder: Path) -> None:
    _frames(RGBDList(folder / "frames.txt"))


def _make_csv(folder: Path) -> None:
    _make_pictures(folder)
    rows = [
        f'"images/{index}.{suffix}",depths/{index}.png,labels/{index}.png,518.86'
        for index, suffix in enumerate(_FORMATS)
    ]
    (folder / "frames.csv").write_text("\n".join(["image,depth,label,focal", *rows]))


def _read_csv(folder: Path) -> None:
    _frames(RGBDList(folder / "frames.csv", num_classes=3))


def _make_nyud_mt(folder: Path) -> None:
    _make_pictures(folder)
    (folder / "gt_sets").mkdir()
    (folder / "gt_sets" / "train.txt").write_text("0\n2\n3")
    (folder / "gt_sets" / "val.txt").write_text("1\n5")


def _read_nyud_mt(folder: Path) -> None:
    layout = find_layout(folder)
    _frames(RGBDList.from_frames(layout.train + (layout.validation or []), labels=layout.labels))


# Depth in other files than png, and one frame in each HDF5 file

_DEPTHS = ("0.npy", "1.npz", "2.tif", "3.pgm", "4.mat", "5.pfm", "6.h5")


def _make_depths(folder: Path) -> None:
    random = np.random.default_rng(0)
    for index, name in enumerate(_DEPTHS):
        path, metres = folder / name, random.uniform(0.7, 5, (12, 16)).astype(np.float32)
        Image.fromarray(random.integers(0, 255, (12, 16, 3), dtype=np.uint8)).save(folder / f"{index}.png")
        if name == "0.npy":
            np.save(path, metres)
        elif name == "1.npz":
            np.savez_compressed(path, depth=metres, other=metres)
        elif name == "2.tif":
            tifffile.imwrite(path, metres, compression="zlib", predictor=True)
        elif name == "3.pgm":
            write_pgm(path, (metres * 1000).astype(np.uint16), 5000, comment="millimetres")
        elif name == "4.mat":
            scipy.io.savemat(path, {"depth": metres}, do_compression=True)
        elif name == "5.pfm":
            path.write_bytes(b"Pf\n16 12\n-1.0\n" + metres.tobytes())
        else:
            with h5py.File(path, "w") as file:
                file["rgb"] = random.integers(0, 255, (3, 12, 16), dtype=np.uint8)
                file.create_dataset("depth", data=metres, compression="gzip")


def _read_depths(folder: Path) -> None:
    frames = [FramePaths(folder / f"{index}.png", folder / name, None, None) for index, name in enumerate(_DEPTHS)]
    frames.append(FramePaths(folder / "6.h5", folder / "6.h5", None, None))
    dataset = RGBDList.from_frames(frames)
    for index in range(len(dataset)):
        dataset[index]


# What Pillow would hand to another program, or to a reader that nobody asked for, under the name of a png.
_OTHER_FORMATS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 12 16\n%%EndComments\n(hacked) (w) file closefile showpage\n%%EOF\n",
    b"8BPS\0\1" + bytes(20), b"GIF89a" + bytes(20), b"SIMPLE  =                    T".ljust(99), b"\0\0\1\0".ljust(44),
)  # fmt: skip


def _spoil_images(folder: Path, random: Random) -> None:
    index = int(random.integers(len(_FORMATS)))
    path = folder / "images" / f"{index}.{_FORMATS[index]}"
    if random.random() < 0.05:
        path.write_bytes(pick(random, _OTHER_FORMATS))
    else:
        by = damage.damaged_png if path.suffix == ".png" else damage.damaged_bytes
        path.write_bytes(by(path.read_bytes(), random))


def _pngs(folder: str) -> Callable[[Path, Random], object]:
    return spoils(*(f"{folder}/{index}.png" for index in range(len(_FORMATS))), by=damage.damaged_png)


def _read_photos(folder: Path) -> None:
    from prediction.app import read_photo

    for path in sorted((folder / "images").iterdir()):
        read_photo(path)


KINDS = (
    Kind("splits.mat (MATLAB v5)", _make_splits, _SPOIL_SPLITS, _read_splits),
    Kind("labeled NYU .mat (HDF5)", _make_labeled, _spoil_labeled, _read_labeled),
    Kind("images (6 formats)", _make_pictures, _spoil_images, _read_folder),
    Kind("depth png", _make_pictures, _pngs("depths"), _read_folder),
    Kind("label png", _make_pictures, _pngs("labels"), _read_folder),
    Kind("depth in other files", _make_depths, spoils(*_DEPTHS, by=damage.damaged_bytes), _read_depths),
    Kind("list of frames", _make_pictures, spoils("frames.txt", by=damage.damaged_list), _read_list),
    Kind("csv of frames", _make_csv, spoils("frames.csv", by=damage.damaged_list), _read_csv),
    Kind(
        "layout of NYUD-MT",
        _make_nyud_mt,
        spoils("gt_sets/train.txt", "gt_sets/val.txt", by=damage.damaged_list),
        _read_nyud_mt,
    ),
    Kind("photos of predict.py", _make_pictures, _spoil_images, _read_photos),
)
