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
    for tag, name in {
        "score/rmse": "val/rmse",
        "score/miou": "val/miou",
        "loss/train_total": "train/total",
        "loss/val_depth_aware": "val/depth_aware",
        "unit_gates/sharing1/depth_from_semantics": "gate/sharing1/depth_from_semantics",
    }.items():
        assert [(event.step, event.value) for event in log.Scalars(tag)] == [(2, pytest.approx(row[name], rel=1e-6))]
    assert [event.step for event in log.Scalars("step/total")] == [1, 2]
    # TensorBoard shows groups by the alphabet.
    assert sorted({tag.partition("/")[0] for tag in shown}) == ["loss", "score", "step", "unit_gates"]
    # Image and two depths above the error and two label maps, 48x32 pixels drawn four times as large under 14 of title.
    assert log.Tags()["images"] == ["validation/frame 0", "validation/frame 1"]
    (picture,) = log.Images("validation/frame 0")
    assert (picture.height, picture.width) == (2 * (14 + 4 * 32), 3 * 4 * 48)


def test_tensorboard_has_the_settings(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    monkeypatch.setattr("training.app.build_model", tiny_network)
    monkeypatch.setattr("tests.examples.conftest.TINY", [word for word in TINY if word != "--no-tensorboard"])
    run = tmp_path / "run"
    assert train("--train-frames", 2, "--val-frames", 1, "--lr", 0.003, "--output", run) == 0

    log = EventAccumulator(str(run / "tensorboard")).Reload()
    (text,) = log.Tensors("configuration/text_summary")
    assert b"| lr | 0.003 |" in text.tensor_proto.string_val[0]
    assert b"| data | SyntheticRooms, 2 rooms" in text.tensor_proto.string_val[0]
    content = log.PluginTagToContent("hparams")
    start = HParamsPluginData.FromString(content["_hparams_/session_start_info"]).session_start_info
    assert start.hparams["lr"].number_value == 0.003
    assert start.hparams["size"].string_value == "32 48"
    experiment = HParamsPluginData.FromString(content["_hparams_/experiment"]).experiment
    assert {info.name.tag for info in experiment.metric_infos} >= {"score/rmse", "score/miou"}


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
    assert f"| RMSE | {rmse:.4f} m |" in (run / "model" / "README.md").read_text()
