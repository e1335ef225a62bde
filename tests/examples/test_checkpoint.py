"""A checkpoint is complete or not there, and damage is found."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from depthattn import SynergyNet


def small_net(seed: int) -> SynergyNet:
    torch.manual_seed(seed)
    return SynergyNet("resnet18", 3, decoder_channels=(8, 8))


def test_reloaded_model_gives_equal_outputs(tmp_path: Path) -> None:
    from training import checkpoint

    net = small_net(0)
    image = torch.rand(2, 3, 32, 48)
    net(image)
    checkpoint.save(tmp_path / "best", {"model": net.state_dict()}, {"epoch": 3, "model": net.config})
    loaded = checkpoint.load(tmp_path / "best")
    other = SynergyNet(**loaded.info["model"])
    other.load_state_dict(loaded.tensors["model"])
    for mine, theirs in zip(net.eval()(image), other.eval()(image), strict=True):
        assert torch.equal(mine, theirs)
    assert loaded.info["epoch"] == 3


def test_saving_replaces_and_keeps_the_one_before(tmp_path: Path) -> None:
    from training import checkpoint

    for value in (1.0, 2.0, 3.0):
        checkpoint.save(tmp_path / "last", {"model": {"w": torch.tensor(value)}}, {"value": value})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last", "last.previous"]
    assert checkpoint.load(tmp_path / "last").info == {"value": 3.0}
    assert checkpoint.load(tmp_path / "last.previous").tensors["model"]["w"] == 2.0


@pytest.mark.parametrize("broken", ["save_file", "write_json"])
def test_a_failure_while_writing_leaves_the_checkpoint_as_it_was(
    broken: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training import checkpoint

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    checkpoint.save(tmp_path / "last", {"model": {"w": torch.ones(2)}}, {"epoch": 1})
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, broken, full_disk)
        with pytest.raises(OSError, match="No space left"):
            checkpoint.save(tmp_path / "last", {"model": {"w": torch.zeros(2)}}, {"epoch": 2})
    loaded = checkpoint.load(tmp_path / "last")
    assert (loaded.info["epoch"], loaded.tensors["model"]["w"].tolist()) == (1, [1.0, 1.0])
    checkpoint.save(tmp_path / "last", {"model": {"w": torch.zeros(2)}}, {"epoch": 2})
    assert checkpoint.load(tmp_path / "last").info["epoch"] == 2


def test_a_kill_between_the_two_renames_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from training import checkpoint

    checkpoint.save(tmp_path / "last", {"model": {"w": torch.ones(2)}}, {"epoch": 1})
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if target == tmp_path / "last":
            raise KeyboardInterrupt
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            checkpoint.save(tmp_path / "last", {"model": {"w": torch.zeros(2)}}, {"epoch": 2})
    assert checkpoint.load(tmp_path / "last.previous").info["epoch"] == 1


def test_damage_is_named(tmp_path: Path) -> None:
    from training import checkpoint

    folder = tmp_path / "last"
    checkpoint.save(folder, {"model": {"w": torch.ones(4)}}, {"epoch": 1})
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(
        checkpoint.CheckpointError, match=r"model\.safetensors: expected the \d+ bytes that info\.json lists"
    ):
        checkpoint.load(folder)
    (folder / "model.safetensors").unlink()
    with pytest.raises(checkpoint.CheckpointError, match=r"got no such file$"):
        checkpoint.load(folder)


@pytest.mark.parametrize(
    "files",
    [
        [],
        {"../model.safetensors": {"bytes": 1, "sha256": ""}},
        {"/etc/passwd": {"bytes": 1, "sha256": ""}},
        {"model.safetensors": {"bytes": 1}},
        {"model.safetensors": None},
        {"model.safetensors": {"bytes": "many", "sha256": ""}},
    ],
)
def test_info_that_lists_no_files_of_its_folder(tmp_path: Path, files: object) -> None:
    from training import checkpoint

    (tmp_path / "info.json").write_text(json.dumps({"epoch": 1, "files": files}))
    with pytest.raises(
        checkpoint.CheckpointError, match=r"info\.json: expected under 'files' the bytes and the sha256"
    ):
        checkpoint.load(tmp_path)


def test_missing_or_broken_info(tmp_path: Path) -> None:
    from training import checkpoint

    with pytest.raises(checkpoint.CheckpointError, match=r"last/info\.json: expected a checkpoint, got No such file"):
        checkpoint.load(tmp_path / "last")
    (tmp_path / "info.json").write_text('{"epoch": ')
    with pytest.raises(checkpoint.CheckpointError, match=r"info\.json: expected JSON, got"):
        checkpoint.load(tmp_path)
    (tmp_path / "info.json").write_text(json.dumps({"epoch": 1}))
    with pytest.raises(checkpoint.CheckpointError, match=r"info\.json: expected key 'files', got epoch"):
        checkpoint.load(tmp_path)
