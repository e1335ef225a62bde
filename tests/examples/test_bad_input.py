"""Bad input: one line on stderr, status 2, and no folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from tests.data.nyu_factory import make_frames, write_frames, write_labeled_mat, write_splits_mat
from tests.examples.factory import write_list, write_pictures

Train = Callable[..., int]
Prepare = Callable[[Path], list[object]]


def missing_mat(folder: Path) -> list[object]:
    return ["--nyu", folder / "absent.mat"]


def truncated_mat(folder: Path) -> list[object]:
    write_labeled_mat(folder / "nyu.mat")
    content = (folder / "nyu.mat").read_bytes()
    (folder / "nyu.mat").write_bytes(content[: len(content) // 2])
    return ["--nyu", folder / "nyu.mat"]


def v5_mat(folder: Path) -> list[object]:
    write_splits_mat(folder / "splits.mat", [1], [2])
    return ["--nyu", folder / "splits.mat"]


def mat_without_labels(folder: Path) -> list[object]:
    write_labeled_mat(folder / "nyu.mat")
    with h5py.File(folder / "nyu.mat", "r+") as file:
        del file["labels"]
    return ["--nyu", folder / "nyu.mat"]


def split_out_of_range(folder: Path) -> list[object]:
    write_labeled_mat(folder / "nyu.mat", frames=3)
    write_splits_mat(folder / "splits.mat", [1, 2], [3, 9])
    return ["--nyu", folder / "nyu.mat", "--splits", folder / "splits.mat"]


def official_split_of_another_file(folder: Path) -> list[object]:
    write_labeled_mat(folder / "nyu.mat", frames=3)
    return ["--nyu", folder / "nyu.mat"]


def mat_in_millimetres(folder: Path) -> list[object]:
    frames = make_frames(3)
    write_frames(folder / "nyu.mat", frames._replace(raw_depths=frames.raw_depths * 1000))
    write_splits_mat(folder / "splits.mat", [1, 2], [3])
    return ["--nyu", folder / "nyu.mat", "--splits", folder / "splits.mat"]


def mat_with_stray_labels(folder: Path) -> list[object]:
    frames = make_frames(3)
    write_frames(folder / "nyu.mat", frames._replace(labels=np.full_like(frames.labels, 895)))
    write_splits_mat(folder / "splits.mat", [1, 2], [3])
    return ["--nyu", folder / "nyu.mat", "--splits", folder / "splits.mat"]


def list_naming_a_missing_file(folder: Path) -> list[object]:
    frames = write_list(folder, 3)
    (folder / "depths" / "1.png").unlink()
    return ["--list", frames]


def eight_bit_depth(folder: Path) -> list[object]:
    frames = write_list(folder, 3)
    Image.fromarray(np.full((40, 56), 100, dtype=np.uint8)).save(folder / "depths" / "0.png")
    return ["--list", frames]


def wrong_depth_scale(folder: Path) -> list[object]:
    return ["--list", write_list(folder, 3), "--depth-scale", 1]


def depth_of_another_size(folder: Path) -> list[object]:
    frames = write_list(folder, 3)
    Image.fromarray(np.full((20, 56), 2000, dtype=np.uint16)).save(folder / "depths" / "0.png")
    return ["--list", frames]


def single_frame(folder: Path) -> list[object]:
    return ["--list", write_list(folder, 1)]


def stray_label_files(folder: Path) -> list[object]:
    write_pictures(folder, 3, labels=True)
    return ["--folder", folder, "--num-classes", 2]


def number_of_classes_not_given(folder: Path) -> list[object]:
    write_pictures(folder, 3, labels=True)
    return ["--folder", folder]


def folder_without_targets(folder: Path) -> list[object]:
    write_pictures(folder, 3, depth=False)
    return ["--folder", folder]


def unknown_encoder(folder: Path) -> list[object]:
    return ["--encoder", "vgg"]


def missing_weights(folder: Path) -> list[object]:
    return ["--encoder-weights", folder / "resnet18.pth"]


def two_sources(folder: Path) -> list[object]:
    return ["--nyu", "a.mat", "--list", "a.txt"]


def option_of_another_source(folder: Path) -> list[object]:
    return ["--splits", "splits.mat"]


def weights_that_are_no_numbers(folder: Path) -> list[object]:
    return ["--loss-weights", "1", "two", "3"]


def negative_gamma(folder: Path) -> list[object]:
    return ["--gamma", -1, "--train-frames", 1, "--val-frames", 1]


def half_precision_on_a_cpu(folder: Path) -> list[object]:
    return ["--precision", "fp16"]


def picture_too_small(folder: Path) -> list[object]:
    return ["--size", 16, 64]


def word_for_a_number(folder: Path) -> list[object]:
    return ["--epochs", "ten"]


@pytest.mark.parametrize(
    ("prepare", "words"),
    [
        (missing_mat, ["absent.mat", "No such file"]),
        (truncated_mat, ["nyu.mat", "expected"]),
        (v5_mat, ["splits.mat", "MATLAB v5"]),
        (mat_without_labels, ["nyu.mat", "'labels'"]),
        (split_out_of_range, ["splits.mat", "testNdxs", "9"]),
        (official_split_of_another_file, ["nyu.mat", "1449", "3"]),
        (mat_in_millimetres, ["nyu.mat", "rawDepths", "millimetres"]),
        (mat_with_stray_labels, ["nyu.mat", "labels", "895"]),
        (list_naming_a_missing_file, ["frames.txt line 2", "depths/1.png"]),
        (eight_bit_depth, ["depths/0.png", "16-bit"]),
        (wrong_depth_scale, ["depths/0.png", "depth_scale=1000"]),
        (depth_of_another_size, ["depths/0.png", "40x56", "20x56"]),
        (single_frame, ["frames.txt", "two frames"]),
        (stray_label_files, ["labels/0.png", "got 2"]),
        (number_of_classes_not_given, ["labels", "--num-classes"]),
        (folder_without_targets, ["depths/", "labels/"]),
        (unknown_encoder, ["'vgg'", "resnet18"]),
        (missing_weights, ["resnet18.pth"]),
        (two_sources, ["--nyu and --list"]),
        (option_of_another_source, ["--splits goes with --nyu"]),
        (negative_gamma, ["gamma", "-1"]),
        pytest.param(
            half_precision_on_a_cpu,
            ["--precision fp16", "GPU", "bf16"],
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU"),
        ),
        (picture_too_small, ["--size", "32", "16 64"]),
        (word_for_a_number, ["--epochs", "whole number", "'ten'"]),
        (weights_that_are_no_numbers, ["--loss-weights", "'1 two 3'"]),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_bad_input(
    prepare: Prepare, words: list[str], train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "runs" / "new"
    data = tmp_path / "data"
    data.mkdir()
    assert train(*prepare(data), "--output", output) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("train_nyu.py: error: ")
    assert captured.err.count("\n") == 1
    assert [word for word in words if word not in captured.err] == []
    assert captured.out == ""
    assert not output.parent.exists()


def test_frames_that_have_nothing_to_learn_from(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "data", 4, labels=True)
    for index in range(4):
        Image.fromarray(np.zeros((40, 56), np.uint16)).save(tmp_path / "data" / "depths" / f"{index}.png")
        Image.fromarray(np.full((40, 56), 255, np.uint8)).save(tmp_path / "data" / "labels" / f"{index}.png")
    new = tmp_path / "runs" / "new"
    assert train("--folder", tmp_path / "data", "--num-classes", 3, "--output", new) == 2
    error = capsys.readouterr().err
    assert error.endswith("expected a depth above 0 or a label below 3 to learn from, got none in 3 frames\n")
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def nothing_at_all(folder: Path) -> None:
    for kind in ("depths", "labels"):
        for path in (folder / kind).iterdir():
            fill = np.zeros((40, 56), np.uint16) if kind == "depths" else np.full((40, 56), 255, np.uint8)
            Image.fromarray(fill).save(path)


def truth_of_the_other_task(folder: Path) -> None:
    """Labels alone, where the training frames have depth alone."""
    for path in (folder / "depths").iterdir():
        Image.fromarray(np.zeros((40, 56), np.uint16)).save(path)


def depth_out_of_range(folder: Path) -> None:
    nothing_at_all(folder)
    for path in (folder / "depths").iterdir():
        Image.fromarray(np.full((40, 56), 20_000, np.uint16)).save(path)


@pytest.mark.parametrize("change", [nothing_at_all, truth_of_the_other_task, depth_out_of_range])
def test_validation_that_has_nothing_to_score_by(
    change: Callable[[Path], None], train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("train", "val"):
        write_pictures(tmp_path / name, 3, labels=True)
    for path in (tmp_path / "train" / "labels").iterdir():
        Image.fromarray(np.full((40, 56), 255, np.uint8)).save(path)
    change(tmp_path / "val")
    data = ("--folder", tmp_path / "train", "--val-folder", tmp_path / "val", "--num-classes", 3)
    assert train(*data, "--output", tmp_path / "runs" / "new") == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "expected a depth or a label to score by, of what the training frames have too, got none in 3 val" in error
    assert not (tmp_path / "runs").exists()


def test_encoder_for_pictures_of_one_size(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("timm", exc_type=ImportError)
    assert train("--encoder", "timm:vit_tiny_patch16_224", "--output", tmp_path / "new") == 2
    assert capsys.readouterr().err == (
        "train_nyu.py: error: --encoder timm:vit_tiny_patch16_224: expected one for images of 32x48 (--size), got: "
        "Input height (32) doesn't match model (224).\n"
    )
    assert not (tmp_path / "new").exists()


def test_damage_met_in_the_middle_of_training(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The second frame is not read before the run begins; what was begun is taken back."""
    frames = write_list(tmp_path / "data", 6)
    Image.fromarray(np.full((40, 56), 100, dtype=np.uint8)).save(tmp_path / "data" / "depths" / "1.png")
    for workers in (0, 1):
        assert train("--list", frames, "--workers", workers, "--output", tmp_path / "runs" / "new") == 2
        error = capsys.readouterr().err
        assert error.startswith("train_nyu.py: error: RGBDList: ")
        assert error.count("\n") == 1
        assert "depths/1.png" in error
        assert not (tmp_path / "runs").exists()


def test_a_folder_of_other_files_is_left_alone(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    assert train("--output", tmp_path, "--overwrite") == 2
    assert "expected a new or empty folder, got one that holds thesis.tex" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
