"""ablation.py from its command line to its table: what is done once, what is done again, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.data.nyu_factory import write_labeled_mat, write_splits_mat
from tests.examples.factory import write_pictures

TINY = ("--size", 32, 48, "--decoder-channels", 8, 8, "--epochs", 1, "--batch-size", 2, "--encoder-weights", "none",
        "--families", "weights")  # fmt: skip
ROOMS = ("--train-frames", 4, "--val-frames", 2, "--seeds", 0, 1)
VARIANTS = {"up_skip": "+ up-skip", "plain_sum": "1, 1, 1"}

Ablate = Callable[..., int]


@pytest.fixture
def ablate() -> Ablate:
    from ablating.app import main

    def call(*arguments: object) -> int:
        try:
            return main([*map(str, (*TINY, *arguments))])
        except SystemExit as stop:
            return int(stop.code or 0)

    return call


def read_trials(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((folder / "trials").iterdir())}


def test_interrupted_it_goes_on_where_it_was_and_ends_with_table_and_picture(
    ablate: Ablate, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ablating import app

    folder, page = tmp_path / "runs" / "rooms", tmp_path / "evidence.md"
    page.write_text("before\n<!-- ablation.py writes from here -->\nTHE OLD TABLE\n<!-- to here -->\nafter\n")
    call = (*ROOMS, "--output", folder, "--page", page, "--picture", tmp_path / "effects.png")
    trained = []
    run_trial = app.run_trial

    def counted(variant, seed, *rest):  # type: ignore[no-untyped-def]  # run_trial's own types
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append((variant.key, seed))
        return run_trial(variant, seed, *rest)

    monkeypatch.setattr(app, "run_trial", counted)
    assert ablate(*call) == 130
    assert "goes on with what is missing" in capsys.readouterr().err
    first = read_trials(folder)
    assert list(first) == [f"{key}-seed0.json" for key in list(VARIANTS)[:1]]
    assert not (folder / "table.md").exists()
    assert ablate(*call, "--report-only") == 0
    assert "1 variants of seed 0, 0 variants of seed 1" in (folder / "table.md").read_text()
    assert read_trials(folder) == first

    monkeypatch.setattr(app, "run_trial", run_trial)
    assert ablate(*call) == 0
    done = read_trials(folder)
    assert list(done) == sorted(f"{key}-seed{seed}.json" for key in VARIANTS for seed in (0, 1))
    assert {name: done[name] for name in first} == first
    assert "3/3" in capsys.readouterr().out
    table = (folder / "table.md").read_text()
    rmse = [[json.loads(done[f"{key}-seed{seed}.json"])["scores"]["rmse"] for seed in (0, 1)] for key in VARIANTS]
    means = [f"{(a + b) / 2:.3f}\N{NO-BREAK SPACE}±\N{NO-BREAK SPACE}{abs(a - b) / math.sqrt(2):.3f}" for a, b in rmse]
    rows = [line.split(" | ") for line in table.splitlines()]
    assert [row[2] for row in rows if row[0].removeprefix("| ") in VARIANTS.values() and len(row) > 8] == means
    steps = [sum(after) / 2 - sum(rmse[0]) / 2 for after in rmse[1:]]
    cells = next(row for row in rows if row[0] == "| RMSE, m ↓")[1:]
    changes = [float(cell.split()[0].strip("*").replace("−", "-")) for cell in cells]
    assert changes == pytest.approx(steps, abs=6e-4)
    text = page.read_text()
    assert text.startswith("before\n<!-- ablation.py writes from here -->\n")
    assert text.endswith("<!-- to here -->\nafter\n")
    assert table.strip() in text
    assert "THE OLD TABLE" not in text
    with Image.open(folder / "effects.png") as picture, Image.open(tmp_path / "effects.png") as copy:
        assert picture.width > 500
        assert picture.tobytes() == copy.tobytes()

    # A trial that is lost comes out the same again; the others are left alone.
    lost = folder / "trials" / "plain_sum-seed1.json"
    scores = json.loads(lost.read_text())["scores"]
    lost.unlink()
    assert ablate(*call) == 0
    assert "1/1" in capsys.readouterr().out
    assert json.loads(lost.read_text())["scores"] == scores

    monkeypatch.setattr(app, "run_trial", None)
    assert ablate(*call) == 0
    assert ablate(*call, "--lr", 0.5) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "expected a result with lr 0.5, got 0.01" in error


def test_nyu_file(ablate: Ablate, tmp_path: Path) -> None:
    write_labeled_mat(tmp_path / "nyu.mat", frames=6)
    write_splits_mat(tmp_path / "splits.mat", train=[1, 2, 3, 4], test=[5, 6])
    folder = tmp_path / "nyu"
    data = ("--nyu", tmp_path / "nyu.mat", "--splits", tmp_path / "splits.mat")
    assert ablate(*data, "--output", folder, "--seeds", 0, 1) == 0
    result = json.loads((folder / "trials" / "plain_sum-seed1.json").read_text())
    assert result["data"] == "NYU Depth v2 (40 classes), 4 frames to train on, 2 others to score"
    # The factory's depth ends at 6.1 m.
    assert result["scores"]["rmse_far_metres"] is None
    assert result["scores"]["rmse_far_third"] > 0


def test_folders_with_labels_of_another_name(ablate: Ablate, tmp_path: Path) -> None:
    for part, count in (("train", 4), ("test", 2)):
        write_pictures(tmp_path / part, count, labels=True)
        (tmp_path / part / "labels").rename(tmp_path / part / "labels3")
    data = ("--folder", tmp_path / "train", "--val-folder", tmp_path / "test", "--labels", "labels3", "--classes", 3)
    folder = tmp_path / "runs"
    assert ablate(*data, "--output", folder, "--seeds", 0, 1, "--families", "tasks") == 0
    alone = {key: json.loads((folder / "trials" / f"{key}_only-seed0.json").read_text())["scores"]
             for key in ("depth", "labels")}  # fmt: skip
    assert "miou" not in alone["depth"]
    assert "rmse" not in alone["labels"]
    # What was not trained has no score and no test.
    rows = [line.split(" | ") for line in (folder / "table.md").read_text().splitlines()]
    assert next(row for row in rows if row[0] == "| RMSE, m ↓")[2] == "-"
    assert next(row for row in rows if row[0] == "| mIoU, % ↑")[1] == "-"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seeds", 3), "--seeds: expected two or more that differ, got 3"),
        (("--seeds", 3, 3), "--seeds: expected two or more that differ, got 3 3"),
        (("--lr", 0), "--lr: expected a number > 0, got 0"),
        (("--size", 16, 48), "--size: expected at least 32, got 16"),
        (("--train-frames", 1), "--train-frames: expected at least one batch of 2, got 1"),
        (("--splits", "s.mat"), "--splits goes with --nyu, which is not given"),
        (("--folder", "f"), "--folder goes with --val-folder, which is not given"),
        (("--nyu", "none.mat"), "none.mat"),
        (("--nyu", "none.mat", "--folder", "f", "--val-folder", "g"), "expected one data source, got"),
        (("--encoder", "vgg"), "'vgg'"),
        (("--trained-blocks", 17), "--trained-blocks: expected at most 16, got 17"),
    ],
)
def test_what_does_not_fit_is_one_line_and_status_2(
    ablate: Ablate, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], message: str
) -> None:
    assert ablate(*ROOMS, "--output", tmp_path / "runs", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("ablation.py: error: ")
    assert error.count("\n") == 1
    assert message in error


def test_a_damaged_result_is_named(ablate: Ablate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trials").mkdir()
    path = tmp_path / "trials" / "up_skip-seed0.json"
    path.write_text('{"scores": {}}')
    assert ablate(*ROOMS, "--output", tmp_path) == 2
    assert f"{path}: expected a result of this script, got KeyError('settings'); remove it" in capsys.readouterr().err


def test_a_loss_that_is_not_finite_is_named(ablate: Ablate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ablate(*ROOMS, "--output", tmp_path, "--lr", 1e30) == 2
    error = capsys.readouterr().err
    assert "up_skip, seed 0: the loss became nan at step 2; try a lower --lr" in error


def test_what_is_written_last_is_looked_at_before_anything_is_trained(
    ablate: Ablate, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ablating.app._train", None)
    page = tmp_path / "page.md"
    page.write_text("a page\n")
    for option, path, message in (
        ("--page", page, f"{page}: expected the lines '<!-- ablation.py writes from here -->' and"),
        ("--page", tmp_path / "none.md", f"{tmp_path}/none.md: expected a Markdown file to write to, got: "),
        ("--page", tmp_path, f"{tmp_path}: expected a Markdown file to write to, got: "),
        ("--picture", page / "new.png", f"--picture {page}: expected a folder that can be written to, got {page}"),
    ):
        assert ablate(*ROOMS, "--output", tmp_path / "runs", option, path) == 2
        error = capsys.readouterr().err
        assert error.startswith(f"ablation.py: error: {message}")
        assert error.count("\n") == 1
    assert page.read_text() == "a page\n"
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(("part", "words"), [("train", "frames to train on"), ("test", "frames to score")])
@pytest.mark.parametrize(
    ("kind", "missing", "wanted"), [("depths", 0, "a true depth of up to 10 m"), ("labels", 255, "a label")]
)
def test_frames_without_truth_are_refused_before_anything_is_trained(
    part: str, words: str, kind: str, missing: int, wanted: str, ablate: Ablate, tmp_path: Path,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("ablating.app.run_trial", None)
    for folder, count in (("train", 2), ("test", 2)):
        write_pictures(tmp_path / folder, count, labels=True)
    for path in (tmp_path / part / kind).iterdir():
        with Image.open(path) as picture:
            empty = picture.point(lambda _: missing) if kind == "labels" else Image.new("I;16", picture.size)
        empty.save(path)
    data = ("--folder", tmp_path / "train", "--val-folder", tmp_path / "test", "--classes", 3)
    assert ablate(*data, "--output", tmp_path / "runs", "--seeds", 0, 1) == 2
    error = capsys.readouterr().err
    assert error.endswith(f": {words}: expected {wanted}, got none in 2 frames\n")
    assert error.count("\n") == 1
