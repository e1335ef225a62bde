"""The real timm, and torchvision, which it needs: both are there in ``make test-compat``."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from depthattn import SynergyNet
from depthattn.models.registry import build_encoder

timm = pytest.importorskip("timm", exc_type=ImportError)
torchvision = pytest.importorskip("torchvision", exc_type=ImportError)

# Each way in which timm gives features: taken apart, with hooks, in a wrapper, with the channels last.
SWIN = "swin_tiny_patch4_window7_224"
FAMILIES = ["test_resnet", "test_convnext", "test_efficientnet", "test_byobnet", "test_vit", SWIN]
SIZES = {"test_vit": (160, 160), SWIN: (224, 224)}


def image(name: str) -> Tensor:
    return torch.rand(1, 3, *SIZES.get(name, (64, 96)))


@pytest.mark.parametrize("name", FAMILIES)
def test_published_weights_give_the_features_of_the_whole_network(name: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    whole = timm.create_model(name).eval()
    weights = tmp_path / "model.safetensors"
    save_file({key: value.contiguous() for key, value in whole.state_dict().items()}, weights)
    torch.manual_seed(2)
    model = SynergyNet(f"timm:{name}", 3, decoder_channels=(8, 8), encoder_weights=weights).eval()
    x = image(name)
    with torch.no_grad():
        ours = model.encoder(x)
        theirs = whole.forward_intermediates(x, intermediates_only=True)
    assert tuple(value.shape[1] for value in ours) == model.encoder.channels
    for value, stride in zip(ours, model.encoder.reductions, strict=True):
        assert value.shape[2:] == tuple(side // stride for side in x.shape[2:])
        # A network has more stages than it gives features.
        assert any(torch.equal(value, other) for other in theirs if other.shape == value.shape)


@pytest.mark.parametrize("name", FAMILIES)
def test_it_trains(name: str) -> None:
    model = SynergyNet(f"timm:{name}", 3, decoder_channels=(8, 8))
    x = image(name)
    depth, semantics = model(torch.cat([x, x.flip(-1)]))
    assert depth.shape == (2, 1, *x.shape[2:])
    assert semantics.shape == (2, 3, *x.shape[2:])
    (depth.mean() + semantics.square().mean()).backward()
    first = next(parameter for parameter in model.encoder.parameters() if parameter.ndim == 4)
    assert first.grad is not None
    assert first.grad.abs().sum() > 0


def test_it_is_saved_and_read_again(tmp_path: Path) -> None:
    model = SynergyNet("timm:test_resnet", 3, decoder_channels=(8, 8)).eval()
    model.save_pretrained(tmp_path / "model")
    again = SynergyNet.from_pretrained(tmp_path / "model").eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        assert torch.equal(again(x).depth, model(x).depth)


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50"])
@pytest.mark.parametrize("package", ["timm", "torchvision"])
def test_our_resnet_is_theirs(name: str, package: str, tmp_path: Path) -> None:
    torch.manual_seed(3)
    x = torch.rand(2, 3, 97, 129)
    if package == "timm":
        whole = timm.create_model(name).eval()
        features = whole.forward_intermediates(x, intermediates_only=True)
    else:
        whole = torchvision.models.get_model(name).eval()
        stages = ["relu", "layer1", "layer2", "layer3", "layer4"]
        features = list(torchvision.models.feature_extraction.create_feature_extractor(whole, stages)(x).values())
    torch.save(whole.state_dict(), tmp_path / "weights.pth")
    encoder = build_encoder(name, tmp_path / "weights.pth").eval()
    with torch.no_grad():
        ours = encoder(x)
    assert len(ours) == len(features) == 5
    assert all(torch.equal(a, b) for a, b in zip(ours, features, strict=True))
