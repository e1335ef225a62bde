"""depth_distribution.py: its numbers against NumPy, its pictures, and one line for what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.nyu_factory import write_labeled_mat
from tests.examples.factory import exit_status

Distribute = Callable[..., int]


@pytest.fixture
def distribute() -> Distribute:
    from distribution.app import main

    return partial(exit_status, main)


def test_a_folder_of_kitti_depth(distribute: Distribute, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    codes = (random.gamma(2.0, 8.0, (3, 30, 40)) * 256 + 1).clip(1, 65535).astype(np.uint16)
    codes[random.random(codes.shape) < 0.4] = 0
    (tmp_path / "depth" / "drive").mkdir(parents=True)
    for index, frame in enumerate(codes):
        Image.fromarray(frame).save(tmp_path / "depth" / "drive" / f"{index}.png")
    output = tmp_path / "out"
    options = ["--depth-scale", 256, "--max-depth", 80, "--bins", 800, "-o", output]
    assert distribute("--depths", tmp_path / "depth", *options) == 0
    printed = capsys.readouterr().out
    metres = codes[codes > 0] / 256
    assert "3 frames, 3,600 pixels" in printed
    assert f"{np.mean(codes == 0):.1%} of all pixels have no depth" in printed
    shown = [float(word) for word in printed.replace(";", "").split() if word.replace(".", "").isdigit()]
    for share in (0.5, 0.9):
        assert any(abs(number - np.quantile(metres, share)) < 0.06 for number in shown)
    assert f"{np.mean(metres > 80):.2%} of the measured pixels are farther than 80 m" in printed
    assert sorted(path.name for path in output.iterdir()) == ["depth_cumulative.png", "depth_histogram.png"]


def test_nyu_with_its_classes(distribute: Distribute, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = write_labeled_mat(tmp_path / "nyu.mat")
    assert distribute("--nyu", tmp_path / "nyu.mat", "--split", "all", "--depth", "inpainted", "-o", tmp_path) == 0
    printed = capsys.readouterr().out
    # 21 is the wall, by chance the rarest of the four.
    assert f"wall {np.mean(content.labels[content.labels > 0] == 21):.3%}: 1 times fewer" in printed
    assert "0.0% of all pixels have no depth" in printed
    assert (tmp_path / "classes.png").is_file()


def test_synthetic_rooms_by_default(distribute: Distribute, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert distribute("--frames", 2, "-o", tmp_path) == 0
    assert "SyntheticRooms, 2 frames" in capsys.readouterr().out


def test_earlier_pictures_are_replaced_only_when_asked(
    distribute: Distribute, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = tmp_path / "classes.png"
    mine.write_bytes(b"mine")
    assert distribute("--frames", 2, "-o", tmp_path) == 2
    assert "got earlier ones (classes.png); --overwrite replaces them" in capsys.readouterr().err
    assert mine.read_bytes() == b"mine"
    assert distribute("--frames", 2, "-o", tmp_path, "--overwrite") == 0
    assert mine.read_bytes() != b"mine"


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--depths", "{0}"], "expected a folder with depth files, got none"),
        (["--depths", "{0}", "--nyu", "x.mat"], "expected one data source, got --nyu and --depths"),
        (["--splits", "x.mat"], "--splits goes with --nyu"),
        (["--tail", "1"], "--tail: expected a share in (0, 1), got 1"),
        (["--bins", "0"], "--bins: expected a whole number >= 1, got 0"),
        (["--nyu", "{0}/none.mat"], "expected the official nyu_depth_v2_labeled.mat"),
    ],
)
def test_one_line_for_what_is_wrong(
    distribute: Distribute, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], reason: str
) -> None:
    assert distribute(*(option.format(tmp_path) for option in options), "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("depth_distribution.py: error: ")
    assert reason in error
    assert error.count("\n") == 1
