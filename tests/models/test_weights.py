"""Encoder weights from files: what loads, and how what does not load is reported."""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from depthattn import SynergyNet
from depthattn.models import ResNet
from depthattn.models.registry import build_encoder
from depthattn.models.weights import load_encoder_weights


def published(name: str = "resnet18", seed: int = 0) -> OrderedDict[str, Tensor]:
    """A state dict as torchvision publishes it: with the classifier, without batch counters."""
    torch.manual_seed(seed)
    state = OrderedDict(
        (key, torch.rand_like(value))
        for key, value in ResNet(name).state_dict().items()
        if not key.endswith("num_batches_tracked")
    )
    state["fc.weight"] = torch.rand(1000, 512)
    state["fc.bias"] = torch.rand(1000)
    return state


def write(state: dict[str, Tensor], path: Path) -> Path:
    if path.suffix == ".safetensors":
        save_file(dict(state), path)
    else:
        torch.save(state, path)
    return path


@pytest.mark.parametrize("file", ["resnet18.pth", "model.safetensors"])
def test_published_weights_load_exactly(tmp_path: Path, file: str) -> None:
    state = published()
    path = write(state, tmp_path / file)
    model = SynergyNet("resnet18", 3, decoder_channels=(8, 8), encoder_weights=path)
    loaded = model.encoder.state_dict()
    for key, value in state.items():
        if not key.startswith("fc."):
            assert torch.equal(loaded[key], value), key
    assert all(int(value) == 0 for key, value in loaded.items() if key.endswith("num_batches_tracked"))


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_wrapped_state_dict(tmp_path: Path, wrapper: str) -> None:
    state = published()
    torch.save({wrapper: state, "epoch": 3}, tmp_path / "wrapped.pth")
    encoder = build_encoder("resnet18", tmp_path / "wrapped.pth")
    assert torch.equal(encoder.state_dict()["conv1.weight"], state["conv1.weight"])


def without(key: str) -> OrderedDict[str, Tensor]:
    state = published()
    del state[key]
    return state


def with_value(key: str, value: Tensor) -> OrderedDict[str, Tensor]:
    return OrderedDict({**published(), key: value})


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (without("layer1.0.conv1.weight"), "1 missing: layer1.0.conv1.weight"),
        (with_value("layer9.bias", torch.zeros(1)), "1 unexpected: layer9.bias"),
        (
            with_value("conv1.weight", torch.zeros(64, 4, 7, 7)),
            "1 mismatched: conv1.weight (64, 4, 7, 7) for (64, 3, 7, 7)",
        ),
        (
            {f"module.{key}": value for key, value in published().items()},
            "100 missing: conv1.weight, bn1.weight, bn1.bias and 97 more; 102 unexpected: "
            "module.conv1.weight, module.bn1.weight, module.bn1.bias and 99 more",
        ),
    ],
)
def test_state_that_does_not_fit_changes_nothing(tmp_path: Path, state: dict[str, Tensor], reason: str) -> None:
    path = write(state, tmp_path / "weights.pth")
    encoder = ResNet("resnet18")
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    with pytest.raises(ValueError, match="encoder_weights: expected the weights of this encoder in") as caught:
        load_encoder_weights(encoder, path, left_out=("fc",))
    assert str(caught.value).endswith(f"in {path}, got {reason}")
    assert all(torch.equal(value, before[key]) for key, value in encoder.state_dict().items())


def test_weights_of_another_depth(tmp_path: Path) -> None:
    path = write(published("resnet34"), tmp_path / "resnet34.pth")
    with pytest.raises(ValueError, match=r"got 80 unexpected: layer1\.2\.conv1\.weight"):
        build_encoder("resnet18", path)


class _Payload:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("executed"),))


@pytest.mark.parametrize("file", ["weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not a weight file", pickle.dumps(_Payload(), protocol=2)])
def test_damaged_or_hostile_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, content: bytes) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / file
    path.write_bytes(content)
    with pytest.raises(ValueError, match="encoder_weights: expected") as caught:
        build_encoder("resnet18", path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "executed").exists()


def test_hostile_object_inside_a_torch_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pth"
    torch.save({"conv1.weight": _Payload()}, path)
    with pytest.raises(ValueError, match="encoder_weights: expected tensors"):
        build_encoder("resnet18", path)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {"conv1.weight": 3}, {3: torch.zeros(1)}])
def test_file_that_is_no_state_dict(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(ValueError, match=r"encoder_weights: expected a state dict \(name -> tensor\) in"):
        build_encoder("resnet18", tmp_path / "weights.pth")


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"encoder_weights: expected a file, got .*none\.pth"):
        build_encoder("resnet18", tmp_path / "none.pth")


def test_other_encoders_leave_out_what_they_have_no_child_of(tmp_path: Path) -> None:
    module = nn.Sequential(OrderedDict(stem=nn.Conv2d(3, 4, 3), stages_0=nn.Sequential(nn.Conv2d(4, 6, 3))))
    state = {
        "stem.weight": torch.rand(4, 3, 3, 3),
        "stem.bias": torch.rand(4),
        # timm's features_only naming joins these two with an underscore.
        "stages.0.0.weight": torch.rand(6, 4, 3, 3),
        "stages.0.0.bias": torch.rand(6),
        "head.fc.weight": torch.rand(10, 6),
        "norm.weight": torch.rand(6),
    }
    build_encoder(module, write(state, tmp_path / "weights.safetensors"))
    assert torch.equal(module.stages_0[0].weight, state["stages.0.0.weight"])
    assert torch.equal(module.stem.bias, state["stem.bias"])

    stray = {**state, "stem.scale": torch.rand(4)}
    with pytest.raises(ValueError, match=r"got 1 unexpected: stem\.scale"):
        build_encoder(module, write(stray, tmp_path / "stray.safetensors"))
