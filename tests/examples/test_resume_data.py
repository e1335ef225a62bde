"""--resume knows its data by what they are, wherever they lie."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest
from PIL import Image
from tests.data.nyu_factory import write_labeled_mat, write_splits_mat
from tests.examples.factory import tiny_network, write_list, write_pictures

from depthattn import SynergyNet

Train = Callable[..., int]


def started(folder: Path, train: Train, *options: object) -> None:
    """A run of one epoch in ``folder/run`` on the frames in ``folder/data``."""
    assert train(*options, "--output", folder / "run") == 0


def more(train: Train, folder: Path, *options: object) -> int:
    return train("--output", folder / "run", "--resume", *options)


def test_data_that_moved_are_the_same_data(train: Train, tiny: None, tmp_path: Path) -> None:
    """A list with a root of its own, a folder and an official file, each to another place and back into the run."""
    write_list(tmp_path / "data", 5)
    shutil.copytree(tmp_path / "data", tmp_path / "other")
    (tmp_path / "other" / "frames.txt").rename(tmp_path / "renamed.txt")
    started(tmp_path / "1", train, "--list", tmp_path / "data" / "frames.txt")
    started(tmp_path / "2", train, "--folder", tmp_path / "data", "--val-folder", tmp_path / "data")
    shutil.rmtree(tmp_path / "data")
    assert more(train, tmp_path / "1", "--list", tmp_path / "renamed.txt", "--root", tmp_path / "other") == 0
    assert more(train, tmp_path / "2", "--folder", tmp_path / "other", "--val-folder", tmp_path / "other") == 0
    # The run knows now where they are.
    assert more(train, tmp_path / "1") == more(train, tmp_path / "2") == 0
    settings = json.loads((tmp_path / "2" / "run" / "config.json").read_text())["settings"]
    assert settings["folder"] == str(tmp_path / "other")

    write_labeled_mat(tmp_path / "nyu.mat", frames=6)
    write_splits_mat(tmp_path / "splits.mat", [1, 2, 3, 4], [5, 6])
    started(tmp_path / "3", train, "--nyu", tmp_path / "nyu.mat", "--splits", tmp_path / "splits.mat")
    (tmp_path / "nyu.mat").rename(tmp_path / "moved.mat")
    assert more(train, tmp_path / "3", "--nyu", tmp_path / "moved.mat") == 0


def one_frame_more(data: Path) -> str:
    write_pictures(data.parent / "new", 1)
    for kind in ("images", "depths"):
        shutil.copy(data.parent / "new" / kind / "0.png", data / kind / "9.png")
    return "got 6"


def one_frame_less(data: Path) -> str:
    for kind in ("images", "depths"):
        (data / kind / "0.png").unlink()
    return "got 4"


def another_name(data: Path) -> str:
    for kind in ("images", "depths"):
        (data / kind / "2.png").rename(data / kind / "2b.png")
    return "got other names"


def another_size(data: Path) -> str:
    Image.fromarray(np.full((40, 56), 2000, np.uint16)).save(data / "depths" / "1.png")
    return "got other sizes of files"


def no_depth(data: Path) -> str:
    (data / "depths" / "3.png").unlink()
    return "got other names"


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("--folder", one_frame_more),
        ("--folder", one_frame_less),
        ("--folder", another_name),
        ("--folder", another_size),
        ("--folder", no_depth),
        ("--val-folder", one_frame_more),
        ("--val-folder", another_size),
    ],
)
def test_data_that_changed_are_refused(
    part: str,
    change: Callable[[Path], str],
    train: Train,
    tiny: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b"):
        write_pictures(tmp_path / name, 5)
    started(tmp_path, train, "--folder", tmp_path / "a", "--val-folder", tmp_path / "b")
    got = change(tmp_path / ("a" if part == "--folder" else "b"))
    capsys.readouterr()
    assert more(train, tmp_path) == 2
    error = capsys.readouterr().err
    words = "to train on" if part == "--folder" else "to score"
    assert re.fullmatch(rf"train_nyu.py: error: --resume: expected the .*frames {words} that the run was .*\n", error)
    assert f"run was started with, {got}; the last checkpoint is " in error


@pytest.mark.parametrize("read", [64 << 20, 0])
def test_a_file_that_changed_and_kept_its_size(
    read: int,
    train: Train,
    tiny: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Found also where only the first and the last block of a file are read; a copy of it goes on."""
    monkeypatch.setattr("training.identity._READ", read)
    write_pictures(tmp_path / "data", 4)
    for file in (tmp_path / "data" / "depths").iterdir():
        np.save(file.with_suffix(".npy"), np.full((40, 56), 2.0, np.float32))
        file.unlink()
    started(tmp_path, train, "--folder", tmp_path / "data", "--val-folder", tmp_path / "data")
    depth = tmp_path / "data" / "depths" / "1.npy"
    depth.write_bytes(depth.read_bytes())
    assert more(train, tmp_path) == 0
    np.save(depth, np.append(np.full(40 * 56 - 1, 2.0, np.float32), np.float32(3.0)).reshape(40, 56))
    capsys.readouterr()
    assert more(train, tmp_path) == 2
    assert "to train on that the run was started with, got other content of files" in capsys.readouterr().err


def test_a_run_of_another_build_is_called_that(monkeypatch: pytest.MonkeyPatch) -> None:
    from training.checkpoint import CheckpointError
    from training.identity import check_identity

    facts = {"frames": 5, "names": "a", "sizes": "b", "content": "c"}
    monkeypatch.setattr("training.identity.identity", lambda *_: {"train": facts})
    with pytest.raises(
        CheckpointError, match=r"expected a run of this build, .*, got one of another build, with frames"
    ):
        check_identity({"train": {"frames": 5, "names": "a"}}, MagicMock(), MagicMock(), Path("last"))


def test_another_order_of_a_list_is_other_data(
    train: Train, tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frames = write_list(tmp_path / "data", 5)
    started(tmp_path, train, "--list", frames, "--val-list", frames)
    first, *rest = frames.read_text().splitlines()
    frames.write_text("\n".join([*rest, first]))
    assert more(train, tmp_path) == 2
    assert "to train on that the run was started with, got other names" in capsys.readouterr().err


def test_an_encoder_whose_first_weights_are_gone(
    train: Train, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Path | None] = []

    def build(settings: Any, num_classes: int) -> SynergyNet:
        asked.append(settings.encoder_weights)
        return tiny_network(settings, num_classes)

    monkeypatch.setattr("training.app.build_model", build)
    weights = tmp_path / "resnet18.pth"
    started(tmp_path, train, "--train-frames", 2, "--val-frames", 1, "--encoder-weights", weights)
    assert more(train, tmp_path) == 0
    assert asked == [weights, None]


def test_an_encoder_that_began_otherwise(
    train: Train, tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pretrained weights are given a lower rate, so that they are not the same run."""
    write_pictures(tmp_path / "data", 4)
    started(tmp_path, train, "--folder", tmp_path / "data")
    assert more(train, tmp_path, "--encoder-weights", tmp_path / "resnet18.pth") == 2
    error = capsys.readouterr().err
    assert error.startswith("train_nyu.py: error: --resume: expected encoder-weights none, as the run was started, got")
