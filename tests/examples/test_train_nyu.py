"""The training script from its command line to its pictures, on each kind of data."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from tests.data.nyu_factory import write_labeled_mat, write_splits_mat
from tests.examples.factory import TINY, tiny_network, write_list, write_pictures

from depthattn import SynergyNet
from depthattn.data import NYUDepthV2, Sample

Train = Callable[..., int]


def read_metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def picture_size(path: Path) -> tuple[int, int]:
    with Image.open(path) as picture:
        return picture.size


def test_synthetic_rooms_end_to_end(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "runs" / "rooms"
    assert train("--train-frames", 4, "--val-frames", 3, "--epochs", 2, "--output", run) == 0

    history = read_metrics(run)
    assert [row["step"] for row in history] == [2, 4]
    assert history[0]["train/total"] == pytest.approx(
        sum(history[0][f"train/{part}"] * weight for part, weight in zip(
            ("depth_aware", "joint_gradient", "semantic_focal"),
            json.loads((run / "config.json").read_text())["settings"]["loss_weights"], strict=True,
        )), rel=1e-5,
    )  # fmt: skip
    assert history[0]["gate/sharing1/depth_from_semantics"] != 0

    out = capsys.readouterr().out
    results = json.loads((run / "results.json").read_text())
    assert f"{results['scores']['rmse']:.3f} m" in out
    assert f"{results['constant_depth_rmse']:.3f} m" in out
    assert f"{results['chance_miou']:.1%}" in out
    assert str(run / "pictures") in out
    width, height = picture_size(run / "pictures" / "contact_sheet.png")
    assert width > height > 0
    assert picture_size(run / "pictures" / "curves.png")[0] > 0


def test_best_checkpoint_gives_the_scores_that_were_printed(train: Train, tmp_path: Path) -> None:
    from training.settings import parse
    from training.sources import open_source

    run = tmp_path / "run"
    arguments = ["--train-frames", "4", "--val-frames", "2"]
    assert train(*arguments, "--output", run) == 0
    info = json.loads((run / "checkpoints" / "best" / "info.json").read_text())
    model = SynergyNet(**info["model"])
    model.load_state_dict(load_file(run / "checkpoints" / "best" / "model.safetensors"))

    validation = open_source(parse([*TINY, *arguments])).validation
    with torch.no_grad():
        depth = torch.cat([model.eval()(sample["image"][None]).depth for sample in (validation[0], validation[1])])
    target = torch.stack([validation[0]["depth"], validation[1]["depth"]])
    # Per-image averaging, as the papers have it.
    rmse = [float((d[t > 0] - t[t > 0]).square().mean().sqrt()) for d, t in zip(depth, target, strict=True)]
    assert read_metrics(run)[0]["val/rmse"] == pytest.approx(sum(rmse) / 2, rel=1e-4)


def test_the_same_seed_gives_the_same_weights(train: Train, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert train("--train-frames", 4, "--val-frames", 2, "--seed", 5, "--output", tmp_path / name) == 0
    first, second = (load_file(tmp_path / name / "checkpoints" / "last" / "model.safetensors") for name in "ab")
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_labeled_mat(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last tenth of the official training frames is held out; a frame to test on is never read."""
    read: set[int] = set()
    get = NYUDepthV2.__getitem__

    def noted(self: NYUDepthV2, index: int) -> Sample:
        read.add(self.frames[index])
        return get(self, index)

    monkeypatch.setattr(NYUDepthV2, "__getitem__", noted)
    write_labeled_mat(tmp_path / "nyu.mat", frames=9)
    write_splits_mat(tmp_path / "splits.mat", [1, 2, 9, 4, 5], [3, 6, 7, 8])
    run = tmp_path / "run"
    assert train("--nyu", tmp_path / "nyu.mat", "--splits", tmp_path / "splits.mat", "--output", run) == 0
    config = json.loads((run / "config.json").read_text())
    assert config["model"]["num_classes"] == 40
    assert "4 frames to train on, 1 to score (1 block of neighbouring frames held out of the" in config["data"]
    assert read_metrics(run)[0]["step"] == 2
    assert read == {0, 1, 3, 4, 8}


def test_the_official_training_frames_are_cut_into_a_few_blocks() -> None:
    from training.hold_out import blocks

    runs = blocks(795)
    held = [place for run in runs for place in run]
    assert len(held) == 79
    assert len(set(held)) == 79
    assert len(runs) == 1
    assert max(held) == 794


def test_list_holds_frames_out_and_has_no_labels(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert train("--list", write_list(tmp_path / "frames", 5), "--output", run) == 0
    row = read_metrics(run)[0]
    assert "val/rmse" in row
    assert "val/miou" not in row
    assert row["train/semantic_focal"] == 0
    out = capsys.readouterr().out
    assert "4 frames to train on, 1 to score" in out
    assert "mIoU  " not in out.split("Validation, epoch")[1]


def test_focal_lengths_are_those_of_the_pictures_to_score(tmp_path: Path) -> None:
    from training.settings import parse
    from training.sources import open_source

    frames = write_list(tmp_path / "frames", 5)
    lines = [line.replace("518.8579", f"{100 + index}") for index, line in enumerate(frames.read_text().splitlines())]
    frames.write_text("\n".join(lines))
    held_out = open_source(parse(["--list", str(frames), "--size", "80", "84"]))
    # Of five frames the last is held out. 40x56 pixels cover 80x84 when they are twice as large.
    assert held_out.focal(0) == 2 * 104
    named = open_source(parse(["--list", str(frames), "--val-list", str(frames), "--size", "40", "56"]))
    assert [named.focal(index) for index in range(5)] == [100, 101, 102, 103, 104]
    assert open_source(parse(["--folder", str(tmp_path / "frames")])).focal(0) is None


def test_several_folders_hold_out_one_of_them(tmp_path: Path) -> None:
    from training.settings import parse
    from training.sources import open_source

    for name, count in (("hall", 6), ("bath", 2), ("kitchen", 5)):
        write_pictures(tmp_path / name, count)
    source = open_source(parse(["--folder", *(str(tmp_path / name) for name in ("hall", "bath", "kitchen"))]))
    assert (len(source.train), len(source.validation)) == (11, 2)
    assert "(folders: images/ depths/), 11 frames to train on, 2 to score (folder bath held out)" in source.title


def test_a_layout_brings_its_own_split_and_what_was_passed_over_is_said(tmp_path: Path) -> None:
    from training.settings import parse
    from training.sources import open_source

    for name, count in (("train", 3), ("val", 2)):
        write_pictures(tmp_path / name, count)
    (tmp_path / "train" / "images" / ".DS_Store").touch()
    source = open_source(parse(["--folder", str(tmp_path)]))
    assert "split-outside: train/ val/ with images/ inside), 3 frames to train on, 2 to score" in source.title
    assert source.notes == ("skipped 1: 1 hidden",)


def test_the_validation_list_starts_from_a_root_of_its_own(tmp_path: Path) -> None:
    """As in the tree of BTS: sync/ and official_splits/test/."""
    from training.settings import parse
    from training.sources import open_source

    for name, count in (("sync", 3), ("test", 2)):
        write_list(tmp_path / name, count).rename(tmp_path / f"{name}.txt")
    lists = ["--list", str(tmp_path / "sync.txt"), "--val-list", str(tmp_path / "test.txt")]
    source = open_source(parse([*lists, "--root", str(tmp_path / "sync"), "--val-root", str(tmp_path / "test")]))
    assert (len(source.train), len(source.validation)) == (3, 2)
    assert "(a list of image, depth, focal, blank-separated)" in source.title


def test_depth_of_the_validation_list_may_have_another_scale(tmp_path: Path) -> None:
    """As in the csv files of NYU on Kaggle: 8 bits to train on, 255 for 10 m, and millimetres to test on."""
    from training.settings import parse
    from training.sources import open_source

    for name, stored in (("train", np.full((40, 56), 51, np.uint8)), ("test", np.full((40, 56), 3000, np.uint16))):
        write_pictures(tmp_path / name, 2)
        for number in range(2):
            Image.fromarray(stored).save(tmp_path / name / "depths" / f"{number}.png")
        lines = [f"{name}/images/{number}.png,{name}/depths/{number}.png" for number in range(2)]
        (tmp_path / f"{name}.csv").write_text("\n".join(lines))
    lists = ["--list", str(tmp_path / "train.csv"), "--val-list", str(tmp_path / "test.csv"), "--depth-scale", "25.5"]
    source = open_source(parse([*lists, "--val-depth-scale", "1000"]))
    assert source.notes == ()
    assert source.train_plain[0]["depth"].unique().tolist() == [2.0]
    assert source.validation[0]["depth"].unique().tolist() == [3.0]
    # Without it the scale that would fit is said.
    (note,) = open_source(parse(lists)).notes
    assert "test/depths/0.png: 100% of its depth is beyond 10 m" in note
    assert "depth_scale=1000 would give 3 m" in note


def test_labels_of_a_csv_are_read_and_its_unread_column_is_said(tmp_path: Path) -> None:
    from training.settings import parse
    from training.sources import open_source

    write_pictures(tmp_path, 4, labels=True)
    rows = [f"images/{number}.png,depths/{number}.png,labels/{number}.png" for number in range(4)]
    (tmp_path / "frames.csv").write_text("\n".join(rows))
    source = open_source(parse(["--list", str(tmp_path / "frames.csv"), "--num-classes", "3"]))
    assert source.class_names == ("0", "1", "2")
    assert set(source.train_plain[0]["labels"].unique().tolist()) <= {0, 1, 2}
    without = open_source(parse(["--list", str(tmp_path / "frames.csv")]))
    assert (without.train_plain[0]["labels"] == -100).all()
    assert "the column of labels/0.png is not read" in without.notes[0]


def test_every_tenth_frame_and_depth_that_is_too_far_are_warned_of(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_pictures(tmp_path / "frames", 4)
    options = ["--hold-out", "tenth", "--max-depth", "1", "--output", tmp_path / "run"]
    assert train("--folder", tmp_path / "frames", *options) == 0
    out = capsys.readouterr().out
    assert "warning: every tenth frame of a video is nearly one that is trained on" in out
    assert "of its depth is beyond 1 m and counts as missing; its median is 2." in out


@pytest.mark.parametrize("source", ["rooms", "nyu", "folder"])
def test_depth_beyond_the_range_is_missing_in_every_part(source: str, tmp_path: Path) -> None:
    from training.settings import parse
    from training.sources import open_source

    if source == "nyu":
        write_labeled_mat(tmp_path / "nyu.mat")
        write_splits_mat(tmp_path / "splits.mat", [1, 2, 3, 4], [5, 6])
        data = ["--nyu", str(tmp_path / "nyu.mat"), "--splits", str(tmp_path / "splits.mat")]
    elif source == "folder":
        write_pictures(tmp_path, 4)
        data = ["--folder", str(tmp_path)]
    else:
        data = ["--train-frames", "3", "--val-frames", "2"]
    far, near = (open_source(parse([*data, *TINY, *limit])) for limit in ([], ["--max-depth", "3"]))
    for part in ("train_plain", "validation"):
        wanted = getattr(far, part)[0]["depth"]
        assert wanted.max() > 3
        assert getattr(near, part)[0]["depth"].equal(wanted.where(wanted <= 3, 0))
    # The augmented frames, too.
    assert all(near.train[index]["depth"].max() <= 3 for index in range(len(near.train)))


def test_folder_with_labels_only(train: Train, tmp_path: Path) -> None:
    write_pictures(tmp_path / "frames", 4, depth=False, labels=True)
    run = tmp_path / "run"
    assert train("--folder", tmp_path / "frames", "--num-classes", 3, "--output", run) == 0
    row = read_metrics(run)[0]
    assert "val/rmse" not in row
    assert 0 < row["val/miou"] < 1
    assert row["train/depth_aware"] == 0


def test_depth_that_one_number_predicts(train: Train, tmp_path: Path) -> None:
    """The best constant has no error then, and the best epoch is not the one that divides by it."""
    write_pictures(tmp_path / "frames", 4, labels=True)
    for path in (tmp_path / "frames" / "depths").iterdir():
        Image.fromarray(np.full((40, 56), 2000, np.uint16)).save(path)
    run = tmp_path / "run"
    assert train("--folder", tmp_path / "frames", "--num-classes", 3, "--epochs", 2, "--output", run) == 0
    rows, results = read_metrics(run), json.loads((run / "results.json").read_text())
    assert results["constant_depth_rmse"] == 0
    best = min(rows, key=lambda row: row["val/rmse"])
    assert results["scores"]["miou"] == best["val/miou"]


def test_learned_weights_and_bfloat16(train: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = ("--loss-weights", "learned", "--precision", "bf16", "--sharing", "channel", "--no-up-skip")
    assert train("--train-frames", 2, "--val-frames", 2, *options, "--output", run) == 0
    assert json.loads((run / "config.json").read_text())["settings"]["loss_weights"] == "learned"


def test_interrupt_before_the_first_checkpoint_leaves_nothing(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.engine import Engine

    monkeypatch.setattr(Engine, "train_epoch", interrupt)
    run = tmp_path / "runs" / "a"
    assert train("--train-frames", 2, "--val-frames", 2, "--output", run) == 130
    assert capsys.readouterr().err == "train_nyu.py: interrupted in epoch 1; nothing is kept\n"
    assert list(tmp_path.iterdir()) == []


def test_interrupt_keeps_the_last_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training.engine import Engine

    whole = Engine.train_epoch
    monkeypatch.setattr(Engine, "train_epoch", lambda self, *rest: interrupt() if self.steps else whole(self, *rest))
    last = tmp_path / "checkpoints" / "last"
    assert train("--train-frames", 2, "--val-frames", 2, "--epochs", 2, "--output", tmp_path) == 130
    assert capsys.readouterr().err == f"train_nyu.py: interrupted in epoch 2; the last checkpoint is {last}\n"
    assert json.loads((last / "info.json").read_text())["epoch"] == 1


def interrupt(*_: object) -> dict[str, float]:
    raise KeyboardInterrupt


def test_a_loss_that_is_not_finite_stops_the_run(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import network

    build = network.build_model

    def broken(*arguments: object) -> SynergyNet:
        model = build(*arguments)
        torch.nn.init.constant_(model.depth_decoder.head.conv.bias, torch.nan)
        return model

    monkeypatch.setattr("training.app.build_model", broken)
    run = tmp_path / "run"
    assert train("--train-frames", 2, "--val-frames", 2, "--output", run) == 1
    error = capsys.readouterr().err
    assert error.startswith("train_nyu.py: error: the loss is not finite at step 1 (total nan")
    assert error.count("\n") == 1
    assert not run.exists()


def test_a_loss_that_is_not_finite_leaves_the_checkpoint_before_it(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import checkpoint
    from training.engine import Engine

    accumulate = Engine._accumulate

    def poisoned(engine: Engine, *rest: object) -> object:
        if engine.steps == 3:
            torch.nn.init.constant_(engine.net.depth_decoder.head.conv.bias, torch.nan)
        return accumulate(engine, *rest)

    monkeypatch.setattr(Engine, "_accumulate", poisoned)
    monkeypatch.setattr("training.app.build_model", tiny_network)
    options = ("--train-frames", 4, "--val-frames", 1, "--epochs", 3, "--checkpoint-every", 1)
    assert train(*options, "--output", tmp_path / "run") == 1
    error = capsys.readouterr().err
    last = tmp_path / "run" / "checkpoints" / "last"
    assert "the loss is not finite at step 4 (total nan" in error
    assert error.endswith(f"; the last checkpoint is {last}\n")
    assert error.count("\n") == 1
    # Two steps an epoch: saved after the third, in the middle of the second epoch.
    kept = checkpoint.load(last)
    assert kept.info["step"] == 3
    assert all(value.isfinite().all() for value in kept.tensors["model"].values())


def test_an_earlier_run_is_replaced_only_when_asked(
    train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--train-frames", 2, "--val-frames", 2, "--output", tmp_path)
    assert train(*options) == 0
    before = (tmp_path / "metrics.jsonl").read_bytes()
    assert train(*options) == 2
    error = capsys.readouterr().err
    assert "expected a new folder, got an earlier run; --resume goes on with it, --overwrite replaces it" in error
    assert (tmp_path / "metrics.jsonl").read_bytes() == before
    assert train(*options, "--overwrite") == 0
    assert len(read_metrics(tmp_path)) == 1
