"""A run that was stopped, at any moment, ends with the weights of one that was not."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.examples.factory import TINY, tiny_network
from tests.examples.killed_runs import MOMENTS, STATUSES, run_of

Train = Callable[..., int]

# Four steps an epoch and a checkpoint at every third, so that it falls inside of one.
OPTIONS = ["--epochs", "2", "--train-frames", "9", "--val-frames", "2", "--checkpoint-every", "3",
           "--loss-weights", "learned"]  # fmt: skip


@pytest.fixture(autouse=True)
def _tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.app.build_model", tiny_network)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[int]]]:
    """A folder of runs, and by name the exit statuses of their parts: `whole` is never stopped."""
    folder = tmp_path_factory.mktemp("runs")
    options = [*TINY, *OPTIONS]
    statuses = {"whole": [run_of(lambda: None, [*options, "--output", folder / "whole"], folder)]}
    for moment, (before, after) in MOMENTS.items():
        output = ["--output", folder / moment.__name__, "--resume"]
        statuses[moment.__name__] = [
            run_of(moment, [*options, *output, *before], folder),
            # The other options come from the run itself.
            run_of(lambda: None, [*output, *after], folder),
        ]
    return folder, statuses


@pytest.fixture
def run(runs: tuple[Path, dict[str, list[int]]], tmp_path: Path) -> Path:
    """A copy of the run that was never stopped."""
    return Path(shutil.copytree(runs[0] / "whole", tmp_path / "run"))


@pytest.mark.parametrize(("moment", "status"), [(moment.__name__, status) for moment, status in STATUSES.items()])
def test_weights_are_those_of_a_run_that_was_never_stopped(
    moment: str, status: int, runs: tuple[Path, dict[str, list[int]]]
) -> None:
    folder, statuses = runs
    assert statuses["whole"] == [0]
    assert statuses[moment] == [status, 0]
    for checkpoint in ("last", "best"):
        for file in sorted((folder / "whole" / "checkpoints" / checkpoint).glob("*.safetensors")):
            mine = load_file(folder / moment / "checkpoints" / checkpoint / file.name)
            for name, wanted in load_file(file).items():
                assert wanted.numpy().tobytes() == mine[name].numpy().tobytes(), (file.name, name)
    whole, mine = (_history(folder / name) for name in ("whole", moment))
    assert mine == whole
    assert len(whole) == 2


def _history(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_every_kind_of_state_is_in_the_checkpoint(runs: tuple[Path, dict[str, list[int]]]) -> None:
    last = runs[0] / "whole" / "checkpoints" / "last"
    assert sorted(path.name for path in last.iterdir()) == [
        "info.json", "loss.safetensors", "model.safetensors", "optimizer.safetensors",
    ]  # fmt: skip
    moments = load_file(last / "optimizer.safetensors")
    assert moments["loss.log_variances.step"] == 8
    assert (
        moments["model.neck.0.weight.exp_avg_sq"].shape == load_file(last / "model.safetensors")["neck.0.weight"].shape
    )


@pytest.mark.parametrize("damage", ["flipped", "cut"])
def test_a_damaged_checkpoint_is_reported_and_the_one_before_it_used(
    damage: str,
    run: Path,
    runs: tuple[Path, dict[str, list[int]]],
    train: Train,
    capsys: pytest.CaptureFixture[str],
) -> None:
    broken = run / "checkpoints" / "last" / "optimizer.safetensors"
    content = bytearray(broken.read_bytes())
    content[len(content) // 2] ^= 1
    broken.write_bytes(content[: len(content) // 2] if damage == "cut" else content)

    assert train(*OPTIONS, "--output", run, "--resume") == 0

    # The checkpoint before the last one is that of step 6.
    out = capsys.readouterr().out
    assert f"{broken}: expected the" in out
    assert "resumed     after step 6" in out
    assert (run / "checkpoints" / "last.damaged").is_dir()
    whole = load_file(runs[0] / "whole" / "checkpoints" / "last" / "model.safetensors")
    mine = load_file(run / "checkpoints" / "last" / "model.safetensors")
    assert all(wanted.numpy().tobytes() == mine[name].numpy().tobytes() for name, wanted in whole.items())


def test_nothing_to_resume_from_but_damage(run: Path, train: Train, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(run / "checkpoints" / "last.previous")
    (run / "checkpoints" / "last" / "info.json").write_text("{")
    assert train(*OPTIONS, "--output", run, "--resume") == 2
    error = capsys.readouterr().err
    assert f"{run / 'checkpoints' / 'last' / 'info.json'}: expected JSON" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "edit", "wanted"),
    [
        ("last", {"progress": None}, "expected the key 'progress' as dict, got progress: None"),
        ("last", {"progress": {"step": 8}}, "expected the key 'frames_per_step' as int, got step"),
        ("last", {"baseline": {"depth": 1.0, "rmse": 1.0}}, "baseline: expected miou, got depth, rmse"),
        ("last", {"history": [{"epoch": "one"}]}, "history 1: expected numbers by name, got {'epoch': 'one'}"),
        ("last", {"history": [{"epoch": 1}]}, "history 1: expected val/rmse, val/miou, got epoch"),
        ("last", {"history": []}, "expected a step of epoch 1, of 4 steps each, got step 8"),
        ("best", {"metrics": {}}, "metrics: expected val/rmse, val/miou, got nothing"),
    ],
)
def test_facts_that_somebody_edited(
    name: str, edit: dict[str, object], wanted: str, run: Path, train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    info = run / "checkpoints" / name / "info.json"
    info.write_text(json.dumps({**json.loads(info.read_text()), **edit}))
    assert train(*OPTIONS, "--output", run, "--resume") == 2
    error = capsys.readouterr().err
    assert error.startswith(f"train_nyu.py: error: {info}")
    assert wanted in error
    assert error.count("\n") == 1


def test_other_options_than_those_of_the_run(
    runs: tuple[Path, dict[str, list[int]]], train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(*OPTIONS, "--output", runs[0] / "whole", "--resume", "--lr", "0.5") == 2
    assert capsys.readouterr().err == (
        "train_nyu.py: error: --resume: expected lr 0.002, as the run was started, got 0.5 (see --help)\n"
    )
    assert train(*OPTIONS, "--output", runs[0] / "whole", "--resume", "--batch-size", "4") == 2
    assert "expected the 2 frames per step of the run" in capsys.readouterr().err


def test_resume_of_nothing_begins(train: Train, tmp_path: Path) -> None:
    assert train("--train-frames", 2, "--val-frames", 1, "--output", tmp_path / "run", "--resume") == 0
    assert len(_history(tmp_path / "run")) == 1


def test_a_full_disk_stops_in_one_line_and_keeps_the_checkpoint(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from training import checkpoint

    write, written = checkpoint.save_file, []

    def filling(tensors: object, path: Path) -> None:
        written.append(path)
        # best and last of the first epoch have three files.
        if len(written) > 3:
            path.write_bytes(b"half")
            raise OSError(28, "No space left on device", str(path))
        write(tensors, path)

    monkeypatch.setattr(checkpoint, "save_file", filling)
    last = tmp_path / "run" / "checkpoints" / "last"
    assert train("--train-frames", 2, "--val-frames", 1, "--epochs", 3, "--output", tmp_path / "run") == 1
    error = capsys.readouterr().err
    assert error.startswith("train_nyu.py: error: [Errno 28] No space left on device: ")
    assert error.endswith(f"; the last checkpoint is {last}\n")
    assert error.count("\n") == 1
    assert not [path for path in last.parent.iterdir() if path.name.endswith(".writing")]
    monkeypatch.undo()
    assert checkpoint.load(last).info["epoch"] == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX limits")
def test_an_error_of_safetensors_is_that_of_the_disk(tmp_path: Path) -> None:
    """A limit on the size of files is the nearest to a full disk that needs no disk of its own."""
    import resource

    import torch

    from training import checkpoint

    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OSError, match=r"model\.safetensors"):
            checkpoint.save(tmp_path / "last", {"model": {"w": torch.zeros(1 << 16)}}, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
