"""Weights, checkpoints of the training script and folders of save_pretrained."""

from __future__ import annotations

import hashlib
import json
import pickle
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from tests.examples.factory import ROOT
from tests.files import damage
from tests.files.damage import Random, pick
from tests.files.kind import Kind, Payload, spoils
from tests.models.networks import Stem

from depthattn import SynergyNet
from depthattn.models.weights import load_encoder_weights

sys.path.insert(0, str(ROOT / "examples"))


def tiny_network() -> SynergyNet:
    torch.manual_seed(0)
    return SynergyNet(Stem(), 3, decoder_channels=(4, 4))


def _make_weights(folder: Path) -> None:
    from safetensors.torch import save_file

    weights = Stem().state_dict()
    save_file(weights, folder / "weights.safetensors")
    torch.save(weights, folder / "weights.pth")
    torch.save(weights, folder / "old.pth", _use_new_zipfile_serialization=False)


def _spoil_weights(folder: Path, random: Random) -> None:
    if random.random() < 0.4:
        spoils("weights.safetensors", by=damage.damaged_safetensors)(folder, random)
    elif random.random() < 0.05:
        torch.save({"stages": Payload()}, folder / "weights.pth")
    elif random.random() < 0.05:
        (folder / "old.pth").write_bytes(pickle.dumps(Payload(), protocol=int(random.integers(6))))
    else:
        spoils("weights.pth", "old.pth", by=damage.damaged_bytes)(folder, random)


def _read_weights(folder: Path) -> None:
    for name in ("weights.safetensors", "weights.pth", "old.pth"):
        load_encoder_weights(Stem(), folder / name)


def make_checkpoint(folder: Path) -> None:
    from training import checkpoint

    network = tiny_network()
    info = {"model": {**network.config, "encoder": "resnet18"}, "class_names": ["a", "b", "c"], "epoch": 3}
    checkpoint.save(folder / "checkpoints" / "best", {"model": network.state_dict()}, info)
    (folder / "config.json").write_text(json.dumps({"settings": {"size": [32, 48]}, "model": network.config}))


def _sealed(facts: dict[str, Any], weights: Path) -> None:
    """The sums of damaged weights put right, so that reading goes on behind them."""
    content = weights.read_bytes()
    facts.update(bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _spoil_checkpoint(folder: Path, random: Random) -> None:
    best = folder / "checkpoints" / "best"
    change = random.random()
    if change < 0.4:
        spoils("info.json", by=damage.damaged_json)(best, random)
    elif change < 0.5:
        spoils("config.json", by=damage.damaged_json)(folder, random)
    elif change < 0.6:
        (best / pick(random, ("info.json", "model.safetensors"))).unlink()
    else:
        spoil_tensors(best, random)


def spoil_tensors(checkpoint: Path, random: Random) -> None:
    """Damage tensors of a checkpoint, most times with the sums put right."""
    name = pick(random, sorted(path.name for path in checkpoint.glob("*.safetensors")))
    spoils(name, by=damage.damaged_safetensors)(checkpoint, random)
    if random.random() < 0.8:
        info = json.loads((checkpoint / "info.json").read_text())
        _sealed(info["files"][name], checkpoint / name)
        (checkpoint / "info.json").write_text(json.dumps(info))


def _read_checkpoint(folder: Path) -> None:
    from prediction import network

    def build(*, encoder: Any, **options: Any) -> SynergyNet:
        return SynergyNet(Stem() if encoder == "resnet18" else encoder, **options)

    with mock.patch.object(network, "SynergyNet", build):
        network.load_trained(folder)


def _make_pretrained(folder: Path) -> None:
    tiny_network().save_pretrained(folder / "model", class_names=["a", "b", "c"], image_size=(32, 48))


def _spoil_pretrained(folder: Path, random: Random) -> None:
    model = folder / "model"
    change = random.random()
    if change < 0.6:
        spoils("config.json", by=damage.damaged_json)(model, random)
    elif change < 0.65:
        (model / pick(random, ("config.json", "model.safetensors"))).unlink()
    else:
        spoils("model.safetensors", by=damage.damaged_safetensors)(model, random)
        if random.random() < 0.8:
            config = json.loads((model / "config.json").read_text())
            _sealed(config["weights"], model / "model.safetensors")
            (model / "config.json").write_text(json.dumps(config))


def _read_pretrained(folder: Path) -> None:
    try:
        SynergyNet.from_pretrained(folder / "model", encoder=Stem())
    except ValueError as error:
        if "expected no encoder" not in str(error):
            raise
        SynergyNet.from_pretrained(folder / "model")


KINDS = (
    Kind("encoder weights", _make_weights, _spoil_weights, _read_weights),
    Kind("training checkpoint", make_checkpoint, _spoil_checkpoint, _read_checkpoint),
    Kind("save_pretrained folder", _make_pretrained, _spoil_pretrained, _read_pretrained),
)
