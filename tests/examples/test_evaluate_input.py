"""evaluate_nyu.py: what cannot be scored is one line, and what can only seem right is said."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import scipy.io
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
        (0.0, [], "predictions are 0 times the ground truth (median), an implausible scale; no factor would make it 1"),
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


def test_scores_that_cannot_be_written_are_printed(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr("evaluation.app.write_json", full)
    pred, truth = predictions(nyu.raw_depths[TEST]), nyu.raw_depths[TEST]
    np.save(tmp_path / "pred.npy", pred)
    assert evaluate("--predictions", tmp_path / "pred.npy", "--crop", "none", *data(tmp_path)) == 2
    printed = capsys.readouterr()
    assert f"{expected_rmse(pred, truth):.4f} m" in printed.out
    assert "scores and figures are in" not in printed.out
    assert printed.err.startswith("evaluate_nyu.py: error: [Errno 28] No space left on device: ")
    assert printed.err.count("\n") == 1


def test_the_crop_of_nyu_is_for_frames_of_its_size(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    truth = write_frames(tmp_path, (490, 650), ["a"])
    write_values(tmp_path / "pred", ["a"], truth)
    assert evaluate("--predictions", tmp_path / "pred", "--folder", tmp_path, "--depth-scale", 256) == 2
    error = capsys.readouterr().err
    assert "--crop eigen: expected frames of 480x640, got 490x650; garg and kitti-eigen fit KITTI" in error


@pytest.mark.parametrize("align", ["none", "median", "least-squares"])
def test_predictions_that_are_no_numbers_are_said_and_scores_of_them_are_empty(
    evaluate: Evaluate, tmp_path: Path, nyu: Frames, capsys: pytest.CaptureFixture[str], align: str
) -> None:
    truth = nyu.raw_depths[TEST]
    perfect = np.where(truth > 0, truth, np.nan)  # where nothing is scored they may be anything
    options = ["--crop", "none", "--align", align, "--overwrite", *data(tmp_path)]
    for name, lost in (("none", 0), ("some", 2), ("all", 3)):
        pred = perfect.copy()
        pred[:lost, 20:] = np.nan
        np.save(tmp_path / f"{name}.npy", pred)
        assert evaluate("--predictions", tmp_path / f"{name}.npy", *options) == 0
        printed = capsys.readouterr().out
        warnings = [line for line in printed.splitlines() if "warning" in line]
        expected = (
            f"warning: {lost} of 3 frames have predictions that are NaN where they are scored; errors are empty (-)"
        )
        assert len(warnings) == bool(lost)
        assert all(line.startswith(expected) for line in warnings)
        assert "nan" not in printed
        found = results(tmp_path)
        assert found["frames_with_nan"] == lost
        scores = (found["scores"][name] for name in ("abs_rel", "rmse", "silog"))
        assert all(score is None if lost else score == pytest.approx(0.0, abs=1e-5) for score in scores)
        right = [1.0] * (3 - lost)
        # After alignment a single NaN makes its whole image NaN.
        right += [
            0.0 if align != "none" else float((image[:20] > 0).sum() / (image > 0).sum()) for image in truth[:lost]
        ]
        assert found["scores"]["delta1"] == pytest.approx(np.mean(right), rel=1e-6)
