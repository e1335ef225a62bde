"""Every kind of file that the library and its scripts read: how one is made, damaged and read."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import h5py
import numpy as np
import scipy.io
import torch
from PIL import Image
from tests.data.nyu_factory import write_labeled_mat, write_splits_mat
from tests.examples.factory import ROOT, TinyEncoder
from tests.files import damage
from tests.files.damage import Random, pick

from depthattn import SynergyNet
from depthattn.data import RGBDList
from depthattn.data.nyu import NYUDepthV2
from depthattn.data.nyu_splits import select_frames
from depthattn.models.weights import load_encoder_weights

sys.path.insert(0, str(ROOT / "examples"))


class Kind(NamedTuple):
    """``make(folder)`` writes whole files, ``spoil(folder, random)`` damages them, ``read(folder)`` reads all."""

    name: str
    make: Callable[[Path], object]
    spoil: Callable[[Path, Random], object]
    read: Callable[[Path], object]


class _Payload:
    """Pickled, it makes a folder ``hacked`` where it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, ("hacked",)


def _spoils(*names: str, by: Callable[[bytes, Random], bytes]) -> Callable[[Path, Random], object]:
    """Damages one of the named files."""

    def spoil(folder: Path, random: Random) -> None:
        path = folder / pick(random, names)
        path.write_bytes(by(path.read_bytes(), random))

    return spoil


def _frames(dataset: Any) -> None:
    for index in range(min(len(dataset), 3)):
        dataset[index]


# MATLAB v5


def _make_splits(folder: Path) -> None:
    write_splits_mat(folder / "plain.mat", [1, 2, 3], [4, 5])
    content = scipy.io.loadmat(folder / "plain.mat")
    scipy.io.savemat(folder / "packed.mat", {k: v for k, v in content.items() if k[0] != "_"}, do_compression=True)


_SPOIL_SPLITS = _spoils("plain.mat", "packed.mat", by=damage.damaged_bytes)


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
        _spoils(name, by=damage.damaged_bytes)(folder, random)


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
    return _spoils(*(f"{folder}/{index}.png" for index in range(len(_FORMATS))), by=damage.damaged_png)


def _read_photos(folder: Path) -> None:
    from prediction.app import read_photo

    for path in sorted((folder / "images").iterdir()):
        read_photo(path)


# Weights and trained networks


def _tiny_network() -> SynergyNet:
    torch.manual_seed(0)
    return SynergyNet(TinyEncoder(), 3, decoder_channels=(4, 4))


def _make_weights(folder: Path) -> None:
    from safetensors.torch import save_file

    weights = TinyEncoder().state_dict()
    save_file(weights, folder / "weights.safetensors")
    torch.save(weights, folder / "weights.pth")
    torch.save(weights, folder / "old.pth", _use_new_zipfile_serialization=False)


def _spoil_weights(folder: Path, random: Random) -> None:
    if random.random() < 0.4:
        _spoils("weights.safetensors", by=damage.damaged_safetensors)(folder, random)
    elif random.random() < 0.05:
        torch.save({"stages": _Payload()}, folder / "weights.pth")
    elif random.random() < 0.05:
        (folder / "old.pth").write_bytes(pickle.dumps(_Payload(), protocol=int(random.integers(6))))
    else:
        _spoils("weights.pth", "old.pth", by=damage.damaged_bytes)(folder, random)


def _read_weights(folder: Path) -> None:
    for name in ("weights.safetensors", "weights.pth", "old.pth"):
        load_encoder_weights(TinyEncoder(), folder / name)


def _make_checkpoint(folder: Path) -> None:
    from training import checkpoint

    network = _tiny_network()
    info = {"model": {**network.config, "encoder": "resnet18"}, "class_names": ["a", "b", "c"], "epoch": 3}
    checkpoint.save(folder / "checkpoints" / "best", {"model": network.state_dict()}, info)
    (folder / "config.json").write_text(json.dumps({"settings": {"size": [32, 48]}, "model": network.config}))


def _sealed(facts: dict[str, Any], weights: Path) -> None:
    """The sums of damaged weights put right, so that reading goes on behind them."""
    content = weights.read_bytes()
    facts.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _spoil_checkpoint(folder: Path, random: Random) -> None:
    best = folder / "checkpoints" / "best"
    change = random.random()
    if change < 0.4:
        _spoils("info.json", by=damage.damaged_json)(best, random)
    elif change < 0.5:
        _spoils("config.json", by=damage.damaged_json)(folder, random)
    elif change < 0.6:
        (best / pick(random, ("info.json", "model.safetensors"))).unlink()
    else:
        _spoils("model.safetensors", by=damage.damaged_safetensors)(best, random)
        if random.random() < 0.8:
            info = json.loads((best / "info.json").read_text())
            _sealed(info["files"]["model.safetensors"], best / "model.safetensors")
            (best / "info.json").write_text(json.dumps(info))


def _read_checkpoint(folder: Path) -> None:
    from prediction import network

    def build(*, encoder: Any, **options: Any) -> SynergyNet:
        return SynergyNet(TinyEncoder() if encoder == "resnet18" else encoder, **options)

    with mock.patch.object(network, "SynergyNet", build):
        network.load_trained(folder)


def _make_pretrained(folder: Path) -> None:
    _tiny_network().save_pretrained(folder / "model", class_names=["a", "b", "c"], image_size=(32, 48))


def _spoil_pretrained(folder: Path, random: Random) -> None:
    model = folder / "model"
    change = random.random()
    if change < 0.6:
        _spoils("config.json", by=damage.damaged_json)(model, random)
    elif change < 0.65:
        (model / pick(random, ("config.json", "model.safetensors"))).unlink()
    else:
        _spoils("model.safetensors", by=damage.damaged_safetensors)(model, random)
        if random.random() < 0.8:
            config = json.loads((model / "config.json").read_text())
            _sealed(config["weights"], model / "model.safetensors")
            (model / "config.json").write_text(json.dumps(config))


def _read_pretrained(folder: Path) -> None:
    try:
        SynergyNet.from_pretrained(folder / "model", encoder=TinyEncoder())
    except ValueError as error:
        if "wanted no encoder" not in str(error):
            raise
        SynergyNet.from_pretrained(folder / "model")


# What the scripts write and read


def _make_options(folder: Path) -> None:
    from training.settings import parse

    parse(["--folder", "frames", "--num-classes", "3", "--size", "32", "48"]).save_options(folder)


class Refused(ValueError):
    """What a script said in its one line before it exited with 2."""


def _script(run: Callable[[], object]) -> None:
    """Call a script's function: it returns, or says in one line what is wrong and exits with 2."""
    said, told = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(told):
            run()
    except SystemExit as stop:
        line = said.getvalue()
        if stop.code != 2 or line.count("\n") != 1 or told.getvalue():
            raise AssertionError(f"exit {stop.code} with {line + told.getvalue():.300}") from None
        raise Refused(line.rstrip("\n")) from None


def _read_options(folder: Path) -> None:
    from training.settings import parse

    _script(lambda: parse(["--config", str(folder / "config.yaml")]))


def _make_record(folder: Path) -> None:
    from training.settings import parse

    _make_checkpoint(folder)
    config = {"settings": parse([]).as_json(), "data": "rooms", "class_names": ["a"], "model": _tiny_network().config}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [{"epoch": epoch, "loss": 1.5, "rms": 0.5, "miou": None} for epoch in range(3)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _spoil_record(folder: Path, random: Random) -> None:
    name = pick(random, ("config.json", "metrics.jsonl", "checkpoints/best/info.json"))
    if name != "metrics.jsonl":
        _spoils(name, by=damage.damaged_json)(folder, random)
        return
    lines = (folder / name).read_bytes().splitlines()
    index = int(random.integers(len(lines)))
    lines[index] = damage.damaged_json(lines[index], random)
    (folder / name).write_bytes(b"\n".join(lines))


def _read_record(folder: Path) -> None:
    from reporting.record import read_record

    _ = read_record(folder).settings


def _make_predictions(folder: Path) -> None:
    depth = np.random.default_rng(0).uniform(1, 5, (2, 6, 8)).astype(np.float32)
    np.save(folder / "all.npy", depth)
    scipy.io.savemat(folder / "all.mat", {"pred": depth})
    with h5py.File(folder / "all73.mat", "w", userblock_size=512) as file:
        file["pred"] = depth.T
    (folder / "each").mkdir()
    for index, one in enumerate(depth):
        Image.fromarray((one * 1000).astype(np.uint16)).save(folder / "each" / f"{index}.png")


def _spoil_predictions(folder: Path, random: Random) -> None:
    name = pick(random, ("all.npy", "all.mat", "all73.mat", "each/0.png"))
    if name == "all.npy" and random.random() < 0.05:
        np.save(folder / name, np.array([_Payload()], dtype=object), allow_pickle=True)
    elif name == "all.npy" and random.random() < 0.4:
        _spoil_npy_header(folder / name, random)
    else:
        by = damage.damaged_png if name.endswith("png") else damage.damaged_bytes
        _spoils(name, by=by)(folder, random)


def _spoil_npy_header(path: Path, random: Random) -> None:
    shapes = ((), (2,), (2, 6, 8, 1), (2, 1, 6, 8), (2**40, 6, 8), (2, 2**31, 2**31), (-1, 6, 8), (1 << 70,), (0, 6, 8))
    header = {
        "descr": pick(random, ("<f4", ">f8", "<i2", "|O", "|S5", "<c8", "<M8[s]", "|V4", [("a", "<f4")], "x", None)),
        "fortran_order": pick(random, (False, True, None)),
        "shape": pick(random, shapes),
    }
    text = repr(header).encode().ljust(118) if random.random() < 0.9 else b"__import__('os').mkdir('hacked')".ljust(118)
    path.write_bytes(path.read_bytes()[:10] + text[:117] + b"\n" + path.read_bytes()[128:])


def _read_predictions(folder: Path) -> None:
    from evaluation.predictors import FilePredictor

    names: Sequence[str] = ("all.npy", "all.mat", "all73.mat", "each")
    for name in names:
        predictor = FilePredictor(folder / name, 2, 1.0)
        for index in range(2):
            predictor(index, None)  # type: ignore[arg-type]  # it reads files whatever the frame


KINDS = (
    Kind("splits.mat (MATLAB v5)", _make_splits, _SPOIL_SPLITS, _read_splits),
    Kind("labeled NYU .mat (HDF5)", _make_labeled, _spoil_labeled, _read_labeled),
    Kind("images (6 formats)", _make_pictures, _spoil_images, _read_folder),
    Kind("depth png", _make_pictures, _pngs("depths"), _read_folder),
    Kind("label png", _make_pictures, _pngs("labels"), _read_folder),
    Kind("list of frames", _make_pictures, _spoils("frames.txt", by=damage.damaged_list), _read_list),
    Kind("photos of predict.py", _make_pictures, _spoil_images, _read_photos),
    Kind("encoder weights", _make_weights, _spoil_weights, _read_weights),
    Kind("training checkpoint", _make_checkpoint, _spoil_checkpoint, _read_checkpoint),
    Kind("save_pretrained folder", _make_pretrained, _spoil_pretrained, _read_pretrained),
    Kind("options in YAML", _make_options, _spoils("config.yaml", by=damage.damaged_yaml), _read_options),
    Kind("record of a run", _make_record, _spoil_record, _read_record),
    Kind("predictions to score", _make_predictions, _spoil_predictions, _read_predictions),
)
