"""evaluate_nyu.py: its numbers against NumPy for files of predictions, a checkpoint, and one line for what is wrong."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
import torch
from PIL import Image
from tests.data.nyu_factory import Frames, write_labeled_mat, write_splits_mat
from tests.examples.factory import exit_status
from torch.nn.functional import interpolate

from depthattn import SynergyNet

Evaluate = Callable[..., int]
TEST = [1, 3, 4]  # zero-based


@pytest.fixture
def evaluate_with_pictures() -> Evaluate:
    from evaluation.app import main

    return partial(exit_status, main)


@pytest.fixture
def evaluate(evaluate_with_pictures: Evaluate, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """The script without its pictures, which take most of its time."""
    for draw in ("draw_errors", "plot_depth_bins"):
        monkeypatch.setattr(f"evaluation.app.{draw}", MagicMock())
    return evaluate_with_pictures


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


def expected_rmse(pred: np.ndarray, truth: np.ndarray, *, low: float = 1e-3, high: float = 10.0, crop: Any = None,
                 pooling: str = "images", align: str | None = None) -> float:  # fmt: skip
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
    ("options", "reason"),
    [
        ([], "expected a CHECKPOINT or --predictions, got neither"),
        (["--predictions", "{0}/none"], "expected a folder or a file with predictions"),
        (["--predictions", "{0}/two.npy"], "expected 3 predictions, one for each frame, got 2"),
        (["--predictions", "{0}/empty.mat"], "expected key 'pred' in a MATLAB v5 file, got no such key (keys: depth)"),
        (["--predictions", "{0}/objects.npy"], "expected predictions, got a file that does not read"),
        (["--predictions", "{0}/three.npy"], "--crop eigen: expected a crop inside 48x64 pixels, got rows 45:471"),
        (
            ["--predictions", "{0}/three.npy", "--crop", "middle"],
            "expected eigen, garg, kitti-eigen, none or ROW:ROW,COLUMN:COLUMN",
        ),
        (["--predictions", "{0}/three.npy", "--flip"], "--flip and --size go with a CHECKPOINT"),
        (["--predictions", "{0}/three.npy", "--min-depth", "20"], "expected 0 < --min-depth < --max-depth"),
        (["{0}/none", "--pred-space", "log"], "--pred-space and --in-order go with --predictions"),
        (["--predictions", "{0}/three.npy", "--align-space", "log"], "--align-space goes with --align"),
        (["--predictions", "{0}/three.npy", "--folder", "{0}"], "expected one data source, got --nyu and --folder"),
        (["--predictions", "{0}/three.npy", "--layout", "folders"], "--layout goes with --folder"),
        (["--predictions", "{0}/three.npy", "--num-classes", "3"], "--num-classes goes with --list or --folder"),
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


def write_frames(folder: Path, size: tuple[int, int], names: list[str]) -> np.ndarray:
    """A list of frames at ``size`` with depth to 20 m, images/ and depths/ of those names; the depth, in metres."""
    depths = np.random.default_rng(0).uniform(1, 20, (len(names), *size)).round(2).astype(np.float32)
    depths[:, :3] = 0.0
    lines = []
    for name, depth in zip(names, depths, strict=True):
        for kind, pixels in (("images", np.zeros((*size, 3), np.uint8)), ("depths", (depth * 256).astype(np.uint16))):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        lines.append(f"images/{name}.png depths/{name}.png")
    (folder / "list.txt").write_text("\n".join(lines))
    return (depths * 256).astype(np.uint16) / np.float32(256)


def write_values(folder: Path, names: list[str], values: np.ndarray) -> None:
    for name, image in zip(names, values, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", image)


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


def test_files_in_order_only_where_it_is_asked_for(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = nyu.raw_depths[TEST]
    pred = predictions(truth)
    write_values(tmp_path / "pred", ["2", "9", "10"], pred)  # by letters 10 would come first
    options = ["--predictions", tmp_path / "pred", "--crop", "none", *data(tmp_path)]
    assert evaluate(*options) == 2
    error = capsys.readouterr().err
    assert "expected a frame of this name" in error
    assert "--in-order takes them in natural order" in error
    assert evaluate(*options, "--in-order") == 0
    assert results(tmp_path)["scores"]["rmse"] == pytest.approx(expected_rmse(pred, truth), rel=1e-5)


@pytest.mark.parametrize(
    ("factor", "options", "said"),
    [
        (1000.0, [], "predictions are 1e+03 times the ground truth (median), an implausible scale; --pred-scale 1e+03"),
        (0.1, [], "--pred-scale 0.1 would make it 1"),
        (1000.0, ["--align", "median"], None),
        (1500.0, ["--pred-scale", 1000], None),
    ],
)
def test_an_implausible_scale_is_said(
    evaluate: Evaluate,
    tmp_path: Path,
    nyu: Frames,
    capsys: pytest.CaptureFixture[str],
    factor: float,
    options: list[object],
    said: str | None,
) -> None:
    truth = nyu.raw_depths[TEST]
    np.save(tmp_path / "pred.npy", factor * np.where(truth > 0, truth, 2.0))
    assert evaluate("--predictions", tmp_path / "pred.npy", "--crop", "none", *options, *data(tmp_path)) == 0
    printed = capsys.readouterr().out
    if said is None:
        assert "warning" not in printed
    else:
        assert said in printed
        assert results(tmp_path)["median_ratio_to_ground_truth"] == pytest.approx(factor, rel=1e-5)


def test_the_output_is_checked_before_anything_is_read(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "pred.npy", predictions(nyu.raw_depths[TEST]))
    given = ["--predictions", tmp_path / "pred.npy", "--crop", "none", *data(tmp_path)]
    assert evaluate(*given) == 0
    before = (tmp_path / "out" / "scores.json").read_bytes()
    capsys.readouterr()
    # That there is no truth would show only later.
    assert evaluate(*given, "--nyu", tmp_path / "none.mat") == 2
    assert "got earlier ones (scores.json" in capsys.readouterr().err
    assert (tmp_path / "out" / "scores.json").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "bins.png").write_bytes(b"mine")
    assert evaluate(*given, "-o", tmp_path / "mine") == 2
    assert "got earlier ones (bins.png)" in capsys.readouterr().err
    assert evaluate(*given, "-o", tmp_path / "pred.npy" / "out") == 2
    assert "expected a folder that can be written to, got" in capsys.readouterr().err
    assert evaluate(*given, "--overwrite", "--max-depth", 5) == 0
    assert (tmp_path / "out" / "scores.json").read_bytes() != before


def test_the_crop_of_nyu_is_for_frames_of_its_size(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_frames(tmp_path, (490, 650), ["a"])
    write_values(tmp_path / "pred", ["a"], truth)
    assert evaluate("--predictions", tmp_path / "pred", "--folder", tmp_path, "--depth-scale", 256) == 2
    error = capsys.readouterr().err
    assert "--crop eigen: expected frames of 480x640, got 490x650; garg and kitti-eigen fit KITTI" in error


def test_both_averages_are_printed_with_who_uses_which(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "pred.npy", predictions(nyu.raw_depths[TEST]))
    assert evaluate("--predictions", tmp_path / "pred.npy", "--crop", "none", *data(tmp_path)) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("per image", "per pixel", "AdaBins", "Eigen et al.", "AbsRel", "RMSElog", "iRMSE", "boundary F1"):
        assert words in printed
