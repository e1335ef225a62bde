"""ResNet against the numbers and names of the published models, and against another implementation."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from depthattn.models import ResNet

# Parameters of the published classifiers less those of their fc layer (1000 classes).
_PARAMETERS = {
    "resnet18": 11_689_512 - 513_000,
    "resnet34": 21_797_672 - 513_000,
    "resnet50": 25_557_032 - 2_049_000,
}


@pytest.mark.parametrize("name", sorted(_PARAMETERS))
def test_parameter_count_is_the_published_one(name: str) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in ResNet(name).parameters()) == _PARAMETERS[name]


@pytest.mark.parametrize(
    ("name", "key", "shape"),
    [
        ("resnet18", "conv1.weight", (64, 3, 7, 7)),
        ("resnet18", "bn1.running_var", (64,)),
        ("resnet18", "layer1.1.bn2.num_batches_tracked", ()),
        ("resnet18", "layer2.0.downsample.0.weight", (128, 64, 1, 1)),
        ("resnet34", "layer3.5.conv2.weight", (256, 256, 3, 3)),
        ("resnet50", "layer1.0.downsample.0.weight", (256, 64, 1, 1)),
        ("resnet50", "layer2.0.downsample.1.bias", (512,)),
        ("resnet50", "layer3.5.conv2.weight", (256, 256, 3, 3)),
        ("resnet50", "layer4.2.conv3.weight", (2048, 512, 1, 1)),
    ],
)
def test_names_and_shapes_of_torchvision(name: str, key: str, shape: tuple[int, ...]) -> None:
    with torch.device("meta"):
        assert tuple(ResNet(name).state_dict()[key].shape) == shape


def _transformers_key(key: str, convolutions: int) -> str:
    """Our name under the naming of transformers' ResNetBackbone."""
    leaf = key.rpartition(".")[2]
    stem = re.fullmatch(r"(conv|bn)1\.\w+", key)
    if stem:
        return f"embedder.embedder.{'convolution' if stem[1] == 'conv' else 'normalization'}.{leaf}"
    layer, block, rest = re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", key).groups()
    prefix = f"encoder.stages.{int(layer) - 1}.layers.{block}."
    shortcut = re.fullmatch(r"downsample\.(\d)\.\w+", rest)
    if shortcut:
        return f"{prefix}shortcut.{'convolution' if shortcut[1] == '0' else 'normalization'}.{leaf}"
    kind, index = re.fullmatch(r"(conv|bn)(\d)\.\w+", rest).groups()
    assert int(index) <= convolutions
    return f"{prefix}layer.{int(index) - 1}.{'convolution' if kind == 'conv' else 'normalization'}.{leaf}"


@pytest.mark.parametrize(
    ("name", "layer_type", "widths", "depths"),
    [
        ("resnet18", "basic", [64, 128, 256, 512], [2, 2, 2, 2]),
        ("resnet50", "bottleneck", [256, 512, 1024, 2048], [3, 4, 6, 3]),
    ],
)
def test_maps_equal_those_of_transformers(name: str, layer_type: str, widths: list[int], depths: list[int]) -> None:
    torch.manual_seed(0)
    ours = ResNet(name).double().eval()
    for key, value in ours.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    config = transformers.ResNetConfig(
        layer_type=layer_type,
        hidden_sizes=widths,
        depths=depths,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )
    theirs = transformers.ResNetBackbone(config).double().eval()
    convolutions = 2 if layer_type == "basic" else 3
    mapped = {_transformers_key(key, convolutions): value for key, value in ours.state_dict().items()}
    theirs.load_state_dict(mapped, strict=True)

    image = torch.randn(1, 3, 75, 53, dtype=torch.float64)
    with torch.no_grad():
        expected: tuple[Tensor, ...] = theirs(image).feature_maps
        maps = ours(image)
    for mine, other in zip(maps[1:], expected, strict=True):
        assert mine.shape == other.shape
        assert (mine - other).abs().max() <= 1e-12 * other.abs().max()


def test_declared_channels_and_strides_are_those_of_the_maps() -> None:
    encoder = ResNet("resnet18").eval()
    with torch.no_grad():
        maps = encoder(torch.rand(1, 3, 65, 97))
    assert tuple(feature.shape[1] for feature in maps) == encoder.channels
    # Each stage rounds up.
    sizes = [tuple(feature.shape[2:]) for feature in maps]
    assert sizes == [(-(-65 // stride), -(-97 // stride)) for stride in encoder.reductions]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
@pytest.mark.parametrize("stride", [16, 8])
def test_a_finer_map_holds_the_coarse_one(name: str, stride: int) -> None:
    torch.manual_seed(0)
    coarse = ResNet(name).double().eval()
    for key, value in coarse.state_dict().items():
        if key.endswith(("running_mean", "running_var")):
            value.uniform_(0.5, 1.5)
    fine = ResNet(name, output_stride=stride).double().eval()
    fine.load_state_dict(coarse.state_dict())
    assert fine.reductions == tuple(min(reduction, stride) for reduction in (2, 4, 8, 16, 32))
    image = torch.randn(1, 3, 75, 53, dtype=torch.float64)
    with torch.no_grad():
        for mine, other, reduction in zip(fine(image), coarse(image), coarse.reductions, strict=True):
            every = max(1, reduction // stride)
            assert mine.shape[2:] == tuple(-(-side // min(reduction, stride)) for side in (75, 53))
            assert (mine[:, :, ::every, ::every] - other).abs().max() <= 1e-12 * other.abs().max()


@pytest.mark.parametrize("stride", [4, 64, 8.5, None])
def test_strides_that_no_network_ends_at(stride: Any) -> None:
    with pytest.raises(ValueError, match="ResNet: expected output_stride as one of 8, 16, 32, got"):
        ResNet("resnet18", output_stride=stride)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="ResNet: expected name to be one of resnet18, resnet34, resnet50, got 'vgg'"):
        ResNet("vgg")
