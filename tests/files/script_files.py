"""What the scripts write and read: options, the record of a run, predictions to score."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from unittest import mock

import h5py
import numpy as np
import scipy.io
from PIL import Image
from tests.examples.factory import TINY
from tests.examples.factory import tiny_network as tiny_trained
from tests.files import damage
from tests.files.damage import Random, pick
from tests.files.kind import Kind, Payload, spoils
from tests.files.network_files import make_checkpoint, spoil_tensors, tiny_network

from depthattn.data import SyntheticRooms


def _make_options(folder: Path) -> None:
    from training.settings import parse

    parse(["--folder", "frames", "--num-classes", "3", "--size", "32", "48"]).save_options(folder)


class Refused(ValueError):
    """What a script said in its one line before it exited."""


def _script(run: Callable[[], object]) -> None:
    """Call a script's function: it returns, or says in one line what is wrong and exits with 1 or 2."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            run()
    except SystemExit as stop:
        line = said.getvalue()
        if stop.code not in (1, 2) or line.count("\n") != 1:
            raise AssertionError(f"exit {stop.code} with {line:.300}") from None
        raise Refused(line.rstrip("\n")) from None


def _read_options(folder: Path) -> None:
    from training.settings import parse

    _script(lambda: parse(["--config", str(folder / "config.yaml")]))


def _make_record(folder: Path) -> None:
    from training.settings import parse

    make_checkpoint(folder)
    config = {"settings": parse([]).as_json(), "data": "rooms", "class_names": ["a"], "model": tiny_network().config}
    (folder / "config.json").write_text(json.dumps(config))
    rows = [{"epoch": epoch, "loss": 1.5, "rmse": 0.5, "miou": None} for epoch in range(3)]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))


def _spoil_record(folder: Path, random: Random) -> None:
    name = pick(random, ("config.json", "metrics.jsonl", "checkpoints/best/info.json"))
    if name != "metrics.jsonl":
        spoils(name, by=damage.damaged_json)(folder, random)
        return
    lines = (folder / name).read_bytes().splitlines()
    index = int(random.integers(len(lines)))
    lines[index] = damage.damaged_json(lines[index], random)
    (folder / name).write_bytes(b"\n".join(lines))


def _read_record(folder: Path) -> None:
    from reporting.record import read_record

    _ = read_record(folder).settings


def _train(folder: Path, *options: str) -> None:
    from accelerate.state import AcceleratorState

    from training.app import main

    AcceleratorState._reset_state(reset_partial_state=True)
    with mock.patch("training.app.build_model", tiny_trained):
        status = main([*TINY, "--train-frames", "2", "--val-frames", "1", "--output", str(folder / "run"), *options])
    if status:
        raise SystemExit(status)


def _make_state(folder: Path) -> None:
    with mock.patch("training.run.Run.finish"):
        _script(lambda: _train(folder))
    # A checkpoint to go back to would be used in place of a damaged one.
    assert not (folder / "run" / "checkpoints" / "last.previous").exists()


def _spoil_state(folder: Path, random: Random) -> None:
    checkpoint = folder / "run" / "checkpoints" / pick(random, ("last", "last", "best"))
    if random.random() < 0.7:
        spoils("info.json", by=damage.damaged_json)(checkpoint, random)
    else:
        spoil_tensors(checkpoint, random)


def _read_state(folder: Path) -> None:
    with mock.patch("training.run.Run.train"), mock.patch("training.run.Run.finish"):
        _script(lambda: _train(folder, "--resume"))


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
        np.save(folder / name, np.array([Payload()], dtype=object), allow_pickle=True)
    elif name == "all.npy" and random.random() < 0.4:
        _spoil_npy_header(folder / name, random)
    else:
        by = damage.damaged_png if name.endswith("png") else damage.damaged_bytes
        spoils(name, by=by)(folder, random)


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
    from evaluation.pairing import FrameName
    from evaluation.predictors import FilePredictor
    from evaluation.truth import Truth

    frames = [FrameName(f"frame {index}", (Path("images", f"{index}.png"),)) for index in range(2)]
    truth = Truth("rooms", SyntheticRooms(2), 2, (), frames)
    names: Sequence[str] = ("all.npy", "all.mat", "all73.mat", "each")
    for name in names:
        predictor = FilePredictor(folder / name, truth, 1.0, in_order=False)
        for index in range(2):
            predictor(index, None)  # type: ignore[arg-type]  # it reads files whatever the frame


KINDS = (
    Kind("options in YAML", _make_options, spoils("config.yaml", by=damage.damaged_yaml), _read_options),
    Kind("state to resume from", _make_state, _spoil_state, _read_state),
    Kind("record of a run", _make_record, _spoil_record, _read_record),
    Kind("predictions to score", _make_predictions, _spoil_predictions, _read_predictions),
)
