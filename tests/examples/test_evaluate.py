"""evaluate_nyu.py: its numbers against NumPy for files of predictions, a checkpoint, and one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from PIL import Image
from tests.data.nyu_factory import Frames, write_labeled_mat, write_splits_mat
from tests.examples.factory import exit_status
from torch.nn.functional import interpolate

from depthattn import SynergyNet

Evaluate = Callable[..., int]
TEST = [1, 3, 4]  # zero-based


@pytest.fixture
def evaluate() -> Evaluate:
    from evaluation.app import main

    return partial(exit_status, main)


@pytest.fixture
def nyu(tmp_path: Path) -> Frames:
    content = write_labeled_mat(tmp_path / "nyu.mat")
    write_splits_mat(tmp_path / "splits.mat", [1, 3, 6], [2, 4, 5])
    return content


def data(folder: Path) -> list[object]:
    return ["--nyu", folder / "nyu.mat", "--splits", folder / "splits.mat", "-o", folder / "out"]


def predictions(truth: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).lognormal(0, 0.2, truth.shape)
    return (0.8 * np.where(truth > 0, truth, 2.0) * noise + 0.3).astype(np.float32)


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "scores.json").read_text())


def expected_rms(pred: np.ndarray, truth: np.ndarray, *, low: float = 1e-3, high: float = 10.0, crop: Any = None,
                 pooling: str = "pixels", align: str | None = None) -> float:  # fmt: skip
    squares = []
    for d, g in zip(pred.astype(np.float64), truth.astype(np.float64), strict=True):
        if crop is not None:
            d, g = d[crop], g[crop]
        keep = (g >= low) & (g <= high)
        d, g = d[keep], g[keep]
        if align == "median":
            d = d * np.median(g) / np.median(d)
        if align == "least-squares":
            scale, shift = np.polyfit(d, g, 1)
            d = scale * d + shift
        squares.append((np.clip(d, low, high) - g) ** 2)
    if pooling == "images":
        return float(np.mean([np.sqrt(square.mean()) for square in squares]))
    return float(np.sqrt(np.concatenate(squares).mean()))


@pytest.mark.parametrize(
    ("options", "how"),
    [
        (["--crop", "none"], {}),
        (["--crop", "5:40,8:60", "--pooling", "images"], {"crop": np.s_[5:40, 8:60], "pooling": "images"}),
        (["--crop", "none", "--min-depth", 2, "--max-depth", 4], {"low": 2.0, "high": 4.0}),
        (["--crop", "none", "--align", "median"], {"align": "median"}),
        (["--crop", "5:40,8:60", "--align", "least-squares"], {"crop": np.s_[5:40, 8:60], "align": "least-squares"}),
        (["--crop", "none", "--depth", "inpainted"], {}),
    ],
)
def test_protocols(evaluate: Evaluate, tmp_path: Path, nyu: Frames, options: list[object], how: dict[str, Any]) -> None:
    truth = (nyu.depths if "inpainted" in options else nyu.raw_depths)[TEST]
    pred = predictions(truth)
    np.save(tmp_path / "pred.npy", pred)
    assert evaluate("--predictions", tmp_path / "pred.npy", *data(tmp_path), *options) == 0
    found = results(tmp_path)
    assert found["scores"]["rmse"] == pytest.approx(expected_rms(pred, truth, **how), rel=1e-5)
    assert found["protocol"]["frames"] == 3
    assert found["protocol"]["pooling"] == how.get("pooling", "pixels")
    if how.get("pooling") != "images":
        bins = found["bins"]
        squares = sum(n * r**2 for n, r in zip(bins["pixels"], bins["rmse"], strict=True) if n)
        assert np.sqrt(squares / sum(bins["pixels"])) == pytest.approx(found["scores"]["rmse"], rel=1e-6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bins.png", "errors.png", "scores.json"]


NUMBERS = (2, 9, 10)  # by letters 10 would come first


def write_pngs(folder: Path, pred: np.ndarray) -> None:
    for number, depth in zip(NUMBERS, pred, strict=True):
        Image.fromarray(np.rint(depth * 256).astype(np.uint16)).save(folder / f"{number}.png")


def write_npys(folder: Path, pred: np.ndarray) -> None:
    for number, depth in zip(NUMBERS, pred, strict=True):
        np.save(folder / f"{number}.npy", depth[None] * 256)


def write_mats(folder: Path, pred: np.ndarray) -> None:
    for number, depth in zip(NUMBERS, pred, strict=True):
        scipy.io.savemat(folder / f"{number}.mat", {"pred": depth * 256})


def write_frames_last(folder: Path, pred: np.ndarray) -> None:
    scipy.io.savemat(folder / "all.mat", {"pred": np.moveaxis(pred, 0, 2) * 256})


def write_hdf5(folder: Path, pred: np.ndarray) -> None:
    with h5py.File(folder / "all.mat", "w") as file:
        # MATLAB's (H, W, N) with its axes reversed.
        file["pred"] = np.moveaxis(pred, 0, 2).T * 256


@pytest.mark.parametrize("write", [write_pngs, write_npys, write_mats, write_frames_last, write_hdf5])
def test_files_of_predictions(evaluate: Evaluate, tmp_path: Path, nyu: Frames, write: Callable[..., None]) -> None:
    truth = nyu.raw_depths[TEST]
    pred = predictions(truth)
    (tmp_path / "pred").mkdir()
    write(tmp_path / "pred", pred)
    single = tmp_path / "pred" / "all.mat"
    path = single if single.exists() else tmp_path / "pred"
    assert evaluate("--predictions", path, "--pred-scale", 256, "--crop", "none", *data(tmp_path)) == 0
    # Half a unit of rounding in the png.
    assert results(tmp_path)["scores"]["rmse"] == pytest.approx(expected_rms(pred, truth), abs=2e-3)


@pytest.mark.parametrize("flip", [False, True])
def test_a_checkpoint_sees_its_own_size_and_is_scored_at_that_of_the_truth(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames, flip: bool
) -> None:
    torch.manual_seed(0)
    net = SynergyNet("resnet18", 3, decoder_channels=(8, 8)).eval()
    net.depth_decoder.head.conv.weight.data.normal_()
    net.save_pretrained(tmp_path / "model", image_size=(32, 64))
    options = ["--crop", "none", *(["--flip"] if flip else [])]
    assert evaluate(tmp_path / "model", *data(tmp_path), *options) == 0
    images = torch.from_numpy(nyu.images[TEST]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        seen = interpolate(images, (32, 64), mode="bilinear", antialias=True)
        depth = net(seen).depth
        depth = (depth + net(seen.flip(-1)).depth.flip(-1)) / 2 if flip else depth
        pred = interpolate(depth, (48, 64), mode="bilinear", align_corners=False)[:, 0].numpy()
    found = results(tmp_path)
    assert found["scores"]["rmse"] == pytest.approx(expected_rms(pred, nyu.raw_depths[TEST]), rel=1e-4)
    assert found["protocol"]["network_sees"] == [32, 64]
    assert found["protocol"]["flip_averaging"] is flip


def test_labels_are_scored_where_the_classes_are_those_of_the_data(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames
) -> None:
    from depthattn.data import NYUDepthV2

    frames = NYUDepthV2(tmp_path / "nyu.mat", TEST, num_classes=13)
    torch.manual_seed(0)
    net = SynergyNet("resnet18", 13, decoder_channels=(8, 8)).eval()
    net.semantic_decoder.head.weight.data.normal_()
    net.save_pretrained(tmp_path / "model", class_names=frames.class_names, image_size=(48, 64))
    assert evaluate(tmp_path / "model", "--crop", "5:40,8:60", "--classes", 13, *data(tmp_path)) == 0
    right = []
    for index in range(3):
        with torch.no_grad():
            classes = net(frames[index]["image"][None]).semantics.argmax(1)[0, 5:40, 8:60]
        labels = frames[index]["labels"][5:40, 8:60]
        right += (classes == labels)[labels >= 0].tolist()
    assert results(tmp_path)["scores"]["pixel_accuracy"] == pytest.approx(np.mean(right), abs=2e-3)
    # The 40 classes are others, so depth alone is scored.
    assert evaluate(tmp_path / "model", "--crop", "none", *data(tmp_path)) == 0
    assert "miou" not in results(tmp_path)["scores"]


def test_without_data_it_scores_synthetic_rooms(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "pred.npy", np.full((2, 6, 8), 3.0, dtype=np.float32))
    output = tmp_path / "out"
    assert evaluate("--predictions", tmp_path / "pred.npy", "--frames", 2, "--edges", 0, 3, 6, 10, "-o", output) == 0
    printed = capsys.readouterr().out
    assert "SyntheticRooms" in printed
    assert "6 - 10 m" in printed
    assert results(tmp_path)["bins"]["edges_m"] == [0.0, 3.0, 6.0, 10.0]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "expected a CHECKPOINT or --predictions, got neither"),
        (["--predictions", "{0}/none"], "expected a folder or a file with predictions"),
        (["--predictions", "{0}/two.npy"], "expected 3 predictions, one for each frame, got 2"),
        (["--predictions", "{0}/empty.mat"], "expected key 'pred' in a MATLAB v5 file, got no such key (keys: depth)"),
        (["--predictions", "{0}/objects.npy"], "expected predictions, got a file that does not read"),
        (["--predictions", "{0}/three.npy"], "expected a crop inside 48x64 pixels, got rows 45:471"),
        (["--predictions", "{0}/three.npy", "--crop", "middle"], "expected eigen, none or ROW:ROW,COLUMN:COLUMN"),
        (["--predictions", "{0}/three.npy", "--flip"], "--flip and --size go with a CHECKPOINT"),
        (["--predictions", "{0}/three.npy", "--min-depth", "20"], "expected 0 < --min-depth < --max-depth"),
        (
            ["--predictions", "{0}/three.npy", "--crop", "none", "--min-depth", "9"],
            "expected a pixel with a true depth",
        ),
        (["{0}/none"], "info.json: expected a checkpoint"),
    ],
)
def test_one_line_for_what_is_wrong(
    evaluate: Evaluate,
    tmp_path: Path,
    nyu: Frames,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    reason: str,
) -> None:
    np.save(tmp_path / "two.npy", np.ones((2, 48, 64)))
    np.save(tmp_path / "three.npy", np.ones((3, 48, 64)))
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    scipy.io.savemat(tmp_path / "empty.mat", {"depth": np.ones((3, 3))})
    assert evaluate(*(option.format(tmp_path) for option in options), *data(tmp_path)) == 2
    error = capsys.readouterr().err
    assert error.startswith("evaluate_nyu.py: error: ")
    assert reason in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
