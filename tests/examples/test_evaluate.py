"""evaluate_nyu.py: its numbers against NumPy, for files of predictions of every kind and for a checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import torch
from PIL import Image
from tests.data.nyu_factory import Frames
from tests.examples.evaluating import (
    TEST,
    Evaluate,
    data,
    expected_rmse,
    predictions,
    results,
    write_frames,
    write_values,
)
from torch.nn.functional import interpolate

from depthattn import SynergyNet


@pytest.mark.parametrize(
    ("options", "how"),
    [
        (["--crop", "none"], {}),
        (["--crop", "5:40,8:60", "--pooling", "pixels"], {"crop": np.s_[5:40, 8:60], "pooling": "pixels"}),
        (["--crop", "garg"], {"crop": np.s_[19:47, 2:61]}),
        (["--crop", "none", "--min-depth", 2, "--max-depth", 4], {"low": 2.0, "high": 4.0}),
        (["--crop", "none", "--align", "median"], {"align": "median"}),
        (["--crop", "5:40,8:60", "--align", "least-squares"], {"crop": np.s_[5:40, 8:60], "align": "least-squares"}),
        (["--crop", "none", "--depth", "inpainted"], {}),
    ],
)
def test_protocols(
    evaluate_with_pictures: Evaluate, tmp_path: Path, nyu: Frames, options: list[object], how: dict[str, Any]
) -> None:
    truth = (nyu.depths if "inpainted" in options else nyu.raw_depths)[TEST]
    pred = predictions(truth)
    np.save(tmp_path / "pred.npy", pred)
    assert evaluate_with_pictures("--predictions", tmp_path / "pred.npy", *data(tmp_path), *options) == 0
    found = results(tmp_path)
    assert found["scores"]["rmse"] == pytest.approx(expected_rmse(pred, truth, **how), rel=1e-5)
    assert found["protocol"]["frames"] == 3
    assert found["protocol"]["pooling"] == how.get("pooling", "images")
    # Both averages are there, whichever is the headline.
    for average, pooling in (("per_image", "images"), ("per_pixel", "pixels")):
        assert found[average]["rmse"] == pytest.approx(
            expected_rmse(pred, truth, **how | {"pooling": pooling}), rel=1e-5
        )
    bins = found["bins"]
    squares = sum(n * r**2 for n, r in zip(bins["pixels"], bins["rmse"], strict=True) if n)
    assert np.sqrt(squares / sum(bins["pixels"])) == pytest.approx(found["per_pixel"]["rmse"], rel=1e-6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bins.png", "errors.png", "scores.json"]


def write_pngs(folder: Path, pred: np.ndarray) -> None:
    # As NYU's frames are numbered from 1 in MATLAB.
    for number, depth in zip(TEST, pred, strict=True):
        Image.fromarray(np.rint(depth * 256).astype(np.uint16)).save(folder / f"pred_{number + 1:05}.png")


def write_npys(folder: Path, pred: np.ndarray) -> None:
    for number, depth in zip(TEST, pred, strict=True):
        np.save(folder / f"{number}.npy", depth[None] * 256)


def write_mats(folder: Path, pred: np.ndarray) -> None:
    for number, depth in zip(TEST, pred, strict=True):
        scipy.io.savemat(folder / f"{number}.mat", {"pred": depth * 256})


def write_npzs(folder: Path, pred: np.ndarray) -> None:
    for number, depth in zip(TEST, pred, strict=True):
        np.savez_compressed(folder / f"{number}.npz", depth * 256)


def write_tiffs(folder: Path, pred: np.ndarray) -> None:
    for number, depth in zip(TEST, pred, strict=True):
        tifffile.imwrite(folder / f"{number}.TIFF", depth * 256)


def write_pfms(folder: Path, pred: np.ndarray) -> None:
    for number, depth in zip(TEST, pred, strict=True):
        # As MiDaS writes it: little-endian, the last row first.
        head = f"Pf\n{depth.shape[1]} {depth.shape[0]}\n-1.0\n".encode()
        (folder / f"{number}.pfm").write_bytes(head + (depth[::-1] * 256).astype("<f4").tobytes())


def write_npz_of_all(folder: Path, pred: np.ndarray) -> None:
    np.savez(folder / "all.npz", other=np.zeros(3), pred=pred * 256)


def write_frames_last(folder: Path, pred: np.ndarray) -> None:
    scipy.io.savemat(folder / "all.mat", {"pred": np.moveaxis(pred, 0, 2) * 256})


def write_hdf5(folder: Path, pred: np.ndarray) -> None:
    with h5py.File(folder / "all.mat", "w") as file:
        # MATLAB's (H, W, N) with its axes reversed.
        file["pred"] = np.moveaxis(pred, 0, 2).T * 256


@pytest.mark.parametrize(
    "write",
    [write_pngs, write_npys, write_npzs, write_tiffs, write_pfms, write_mats, write_npz_of_all, write_frames_last,
     write_hdf5],
)  # fmt: skip
def test_files_of_predictions(evaluate: Evaluate, tmp_path: Path, nyu: Frames, write: Callable[..., None]) -> None:
    truth = nyu.raw_depths[TEST]
    pred = predictions(truth)
    (tmp_path / "pred").mkdir()
    write(tmp_path / "pred", pred)
    path = next((tmp_path / "pred").glob("all.*"), tmp_path / "pred")
    assert evaluate("--predictions", path, "--pred-scale", 256, "--crop", "none", *data(tmp_path)) == 0
    # Half a unit of rounding in the png.
    assert results(tmp_path)["scores"]["rmse"] == pytest.approx(expected_rmse(pred, truth), abs=2e-3)


def test_infinite_predictions_are_scored_as_the_end_of_the_range(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames
) -> None:
    """Of the size of the truth, and of half of it, where bilinear weights reach half a pixel further."""
    truth = nyu.raw_depths[TEST]
    half, full = np.full((3, 24, 32), 2.0), np.full(truth.shape, 2.0)
    half[:, 5:7, 8:10], full[:, 9:15, 15:21] = np.inf, np.inf
    for name, pred in (("half", half), ("full", full)):
        np.save(tmp_path / f"{name}.npy", pred)
        options = ["--predictions", tmp_path / f"{name}.npy", "--crop", "none", "--overwrite"]
        assert evaluate(*options, *data(tmp_path)) == 0
        assert results(tmp_path)["scores"]["rmse"] == pytest.approx(expected_rmse(full, truth), rel=1e-6)
        assert results(tmp_path)["frames_with_nan"] == 0


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
    assert found["scores"]["rmse"] == pytest.approx(expected_rmse(pred, nyu.raw_depths[TEST]), rel=1e-4)
    assert found["protocol"]["network_sees"] == [32, 64]
    assert found["protocol"]["prediction_size"] == [32, 64]
    assert found["protocol"]["flip_tta"] is flip


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
    right, hits, either = [], np.zeros(13), np.zeros(13)
    for index in range(3):
        with torch.no_grad():
            classes = net(frames[index]["image"][None]).semantics.argmax(1)[0, 5:40, 8:60]
        labels = frames[index]["labels"][5:40, 8:60]
        known = labels >= 0
        right += (classes == labels)[known].tolist()
        for k in range(13):
            hits[k] += int(((classes == k) & (labels == k)).sum())
            either[k] += int((((classes == k) & known) | (labels == k)).sum())
    assert results(tmp_path)["scores"]["pixel_accuracy"] == pytest.approx(np.mean(right), abs=2e-3)
    iou = results(tmp_path)["iou"]
    assert tuple(iou) == tuple(frames.class_names)
    for k, value in enumerate(iou.values()):
        assert value is None if either[k] == 0 else value == pytest.approx(hits[k] / either[k], abs=5e-3)
    # The 40 classes are others, so depth alone is scored.
    assert evaluate(tmp_path / "model", "--crop", "none", "--overwrite", *data(tmp_path)) == 0
    assert "miou" not in results(tmp_path)["scores"]
    assert results(tmp_path)["iou"] == {}


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
    ("space", "values"),
    [
        ("disparity", lambda g: 3.7 / g + 0.4),
        ("log", lambda g: 0.5 * np.log(g) - 1),
        ("depth", lambda g: 0.2 * g + 3),
    ],
)
def test_a_perfect_model_of_each_space_scores_nothing(
    evaluate: Evaluate, tmp_path: Path, space: str, values: Callable[[np.ndarray], np.ndarray]
) -> None:
    names = ["a_7", "b_7"]
    truth = write_frames(tmp_path, (40, 60), names)
    # The names alone tell them apart; the order is the other way round.
    write_values(tmp_path / "pred", names[::-1], values(np.where(truth > 0, truth, 5.0))[::-1])
    options = ["--predictions", tmp_path / "pred", "--list", tmp_path / "list.txt", "--depth-scale", 256]
    options += ["--crop", "garg", "--max-depth", 80, "-o", tmp_path / "out", "--pred-space", space]
    assert evaluate(*options, "--align", "least-squares") == 0
    found = results(tmp_path)
    assert found["scores"]["abs_rel"] == pytest.approx(0.0, abs=1e-5)
    assert found["scores"]["boundary_f1"] == pytest.approx(1.0, abs=1e-5)
    assert found["protocol"]["alignment"] == f"least_squares in {space}"
    # In another space scale and shift do not make it right.
    assert evaluate(*options, "--overwrite", "--align", "least-squares", "--align-space", "depth") == 0
    wrong = results(tmp_path)["scores"]["abs_rel"]
    assert wrong == pytest.approx(0.0, abs=1e-5) if space == "depth" else wrong > 0.05


@pytest.mark.parametrize("source", ["list", "folder"])
def test_a_list_and_a_folder_of_frames(evaluate: Evaluate, tmp_path: Path, source: str) -> None:
    names = [f"frame{number}" for number in (1, 2, 10)]
    truth = write_frames(tmp_path, (40, 60), names)
    pred = predictions(truth)
    write_values(tmp_path / "pred", [f"{name}_depth" for name in names], pred)
    np.save(tmp_path / "pred" / "frame1_depth_colour.npy", pred[0])  # predict.py leaves coloured depth beside it
    place = ["--list", tmp_path / "list.txt"] if source == "list" else ["--folder", tmp_path]
    given = ["--predictions", tmp_path / "pred", *place, "--depth-scale", 256, "--crop", "none", "--max-depth", 80]
    assert evaluate(*given, "-o", tmp_path / "out") == 0
    expected = expected_rmse(pred, truth, high=80.0)
    assert results(tmp_path)["scores"]["rmse"] == pytest.approx(expected, rel=1e-5)
    # Of all predictions, those of the first frames.
    assert evaluate(*given, "--frames", 2, "-o", tmp_path / "out", "--overwrite") == 0
    assert results(tmp_path)["protocol"]["frames"] == 2
    expected = expected_rmse(pred[:2], truth[:2], high=80.0)
    assert results(tmp_path)["scores"]["rmse"] == pytest.approx(expected, rel=1e-5)


def test_both_averages_are_printed_with_who_uses_which(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "pred.npy", predictions(nyu.raw_depths[TEST]))
    assert evaluate("--predictions", tmp_path / "pred.npy", "--crop", "none", *data(tmp_path)) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("per image", "per pixel", "AdaBins", "Eigen et al.", "AbsRel", "RMSElog", "iRMSE", "boundary F1"):
        assert words in printed
