"""What a run leaves for those who watch it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.examples.factory import TINY, tiny_network

from depthattn import SynergyNet

Train = Callable[..., int]


def test_tensorboard_has_scalars_gates_and_pictures(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr("training.app.build_model", tiny_network)
    monkeypatch.setattr("tests.examples.conftest.TINY", [word for word in TINY if word != "--no-tensorboard"])
    run = tmp_path / "run"
    assert train("--train-frames", 4, "--val-frames", 2, "--output", run) == 0

    log = EventAccumulator(str(run / "tensorboard")).Reload()
    (row,) = (json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines())
    shown = set(log.Tags()["scalars"])
    assert {"step/total", "step/gradient", "step/lr", "step/data_seconds"} <= shown
    for name in ("val/rmse", "val/miou", "train/total", "gate/sharing1/depth_from_semantics"):
        assert [(event.step, event.value) for event in log.Scalars(name)] == [(2, pytest.approx(row[name], rel=1e-6))]
    assert [event.step for event in log.Scalars("step/total")] == [1, 2]
    # Image and two depths of 32x48 pixels above the error and two label maps.
    assert log.Tags()["images"] == ["validation/0", "validation/1"]
    (picture,) = log.Images("validation/0")
    assert (picture.height, picture.width) == (2 * 32, 3 * 48)


def test_the_record_of_a_run_and_its_model(train: Train, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train("--train-frames", 2, "--val-frames", 1, "--output", run) == 0
    config = json.loads((run / "config.json").read_text())
    assert {"depthattn", "python", "torch", "numpy"} <= set(config["versions"])
    assert config["commit"] is None or len(config["commit"].removesuffix("+changes")) == 40
    assert config["frames_per_step"] == 2

    net = SynergyNet.from_pretrained(run / "model")
    assert net.image_size == (32, 48)
    assert net.class_names == tuple(config["class_names"])
    rmse = json.loads((run / "results.json").read_text())["scores"]["rmse"]
    assert f"| rmse | {rmse:.4g} |" in (run / "model" / "README.md").read_text()
