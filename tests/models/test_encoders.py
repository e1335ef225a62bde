"""Encoders that are not ours: timm's interface, transformers' backbones, and any module that returns maps."""

from __future__ import annotations

import builtins
import sys
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor, nn

from depthattn import SynergyNet
from depthattn.models import ModuleEncoder
from depthattn.models.registry import build_encoder


class Pyramid(nn.Module):
    """Maps at strides 2 and 4, in the container that is asked for."""

    def __init__(self, container: str = "list") -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.second = nn.Conv2d(4, 6, 3, stride=2, padding=1)
        self.container = container

    def forward(self, x: Tensor) -> Any:
        fine = self.first(x)
        coarse = self.second(fine)
        wrap = {
            "list": [fine, coarse],
            "tuple": (fine, coarse),
            "dict": {"fine": fine, "coarse": coarse},
            "tensor": coarse,
        }
        return wrap[self.container]


class FeatureInfo:
    """What timm documents of ``model.feature_info``."""

    def __init__(self, channels: list[int], reduction: list[int]) -> None:
        self._channels, self._reduction = channels, reduction

    def channels(self) -> list[int]:
        return self._channels

    def reduction(self) -> list[int]:
        return self._reduction


class TimmLike(Pyramid):
    def __init__(self, *, channels_last: bool = False) -> None:
        super().__init__()
        self.feature_info = FeatureInfo([4, 6], [2, 4])
        self.channels_last = channels_last
        self.calls = 0

    def forward(self, x: Tensor) -> list[Tensor]:
        self.calls += 1
        maps: list[Tensor] = super().forward(x)
        return [feature.permute(0, 2, 3, 1) for feature in maps] if self.channels_last else maps


class Normalised(TimmLike):
    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {"mean": (0.5, 0.4, 0.3), "std": (0.5, 0.25, 0.125), "url": ""}


class Declaring(Pyramid):
    mean, std = [0.5, 0.4, 0.3], [0.5, 0.25, 0.125]


class MeanIsAMethod(Pyramid):
    std = 1.0

    def mean(self) -> float:
        return 0.0


IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
OTHER = ((0.5, 0.4, 0.3), (0.5, 0.25, 0.125))


@pytest.mark.parametrize(
    ("encoder", "normalisation"),
    [
        (Pyramid(), IMAGENET),
        (MeanIsAMethod(), IMAGENET),
        (Normalised(), OTHER),
        (Declaring(), OTHER),
        ("resnet18", IMAGENET),
        ("efficientnet_lite0", ((0.498,) * 3, (0.502,) * 3)),
    ],
)
def test_every_encoder_gets_images_as_it_wants_them(encoder: Any, normalisation: tuple[Any, Any]) -> None:
    model = SynergyNet(encoder, 3, decoder_channels=(4,)).double().eval()
    assert (model.encoder.mean, model.encoder.std) == normalisation
    seen: list[Tensor] = []
    model.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    image = torch.rand(2, 3, 32, 48, dtype=torch.float64)
    model(image)
    mean, std = (torch.tensor(values, dtype=torch.float64).view(3, 1, 1) for values in normalisation)
    torch.testing.assert_close(seen[0], (image - mean) / std, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stride", [16, 8])
def test_a_module_keeps_its_own_stride(stride: int) -> None:
    for encoder in (Pyramid(), build_encoder("resnet18")):
        with pytest.raises(ValueError, match=f"SynergyNet: expected output_stride 32 with .*, got {stride}; give the"):
            SynergyNet(encoder, 3, output_stride=stride)  # type: ignore[arg-type]


@pytest.mark.parametrize("container", ["list", "tuple", "dict"])
def test_containers_of_maps(container: str) -> None:
    module = Pyramid(container).eval()
    encoder = ModuleEncoder(module)
    assert encoder.channels == (4, 6)
    assert encoder.reductions == (2, 4)
    image = torch.rand(2, 3, 33, 47)
    fine = module.first(image)
    maps = encoder(image)
    assert torch.equal(maps[0], fine)
    assert torch.equal(maps[1], module.second(fine))


def test_a_single_map() -> None:
    encoder = ModuleEncoder(Pyramid("tensor"))
    assert encoder.channels == (6,)
    assert encoder.reductions == (4,)
    assert [tuple(m.shape) for m in encoder(torch.rand(1, 3, 32, 32))] == [(1, 6, 8, 8)]


def test_the_probe_leaves_the_module_as_it_was() -> None:
    module = Pyramid()
    module.second.eval()
    modes = [child.training for child in module.modules()]
    before = {key: value.clone() for key, value in module.state_dict().items()}
    generator = torch.get_rng_state()
    ModuleEncoder(module)
    assert [child.training for child in module.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(p.grad is None for p in module.parameters())


def test_the_probe_has_the_dtype_of_the_module() -> None:
    assert ModuleEncoder(Pyramid().double()).channels == (4, 6)


def test_timm_interface_is_believed_without_a_probe() -> None:
    module = TimmLike()
    encoder = ModuleEncoder(module)
    assert module.calls == 0
    assert encoder.channels == (4, 6)
    assert encoder.reductions == (2, 4)


def test_channels_last_maps_are_brought_to_channels_first() -> None:
    module = TimmLike(channels_last=True).eval()
    fine, coarse = ModuleEncoder(module)(torch.rand(1, 3, 64, 48))
    assert fine.shape == (1, 4, 32, 24)
    assert coarse.shape == (1, 6, 16, 12)


def test_timm_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, Any]]] = []

    def create_model(name: str, **options: Any) -> TimmLike:
        asked.append((name, options))
        return TimmLike()

    timm = ModuleType("timm")
    timm.create_model = create_model
    monkeypatch.setitem(sys.modules, "timm", timm)
    model = SynergyNet("timm:tiny_net.in1k", 3, decoder_channels=(8, 4))
    assert asked == [("tiny_net.in1k", {"pretrained": False, "features_only": True})]
    assert model.config["encoder"] == "timm:tiny_net.in1k"
    assert model(torch.rand(2, 3, 33, 47)).semantics.shape == (2, 3, 33, 47)


def test_timm_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="SynergyNet: an encoder named 'timm:…' needs timm: pip install timm"):
        SynergyNet("timm:resnet18", 3)


def _backbones() -> list[Any]:
    resnet = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], layer_type="basic"
    )
    convnext = transformers.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1])
    swin = transformers.SwinConfig(
        embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4, out_features=["stage1", "stage4"]
    )
    return [
        (transformers.ResNetBackbone(resnet), (16,), (32,)),
        (transformers.ConvNextBackbone(convnext), (16,), (32,)),
        (transformers.SwinBackbone(swin), (8, 64), (4, 32)),
    ]


@pytest.mark.parametrize("index", [0, 1, 2], ids=["resnet", "convnext", "swin"])
def test_transformers_backbones(index: int) -> None:
    backbone, channels, reductions = _backbones()[index]
    model = SynergyNet(backbone, 3, decoder_channels=(8, 8, 4, 4))
    assert model.encoder.channels == channels
    assert model.encoder.reductions == reductions
    assert model.config["encoder"] is None
    image = torch.rand(2, 3, 65, 97)
    depth, semantics = model(image)
    assert depth.shape == (2, 1, 65, 97)
    assert semantics.shape == (2, 3, 65, 97)
    (depth.mean() + semantics.mean()).backward()
    assert backbone.get_parameter(next(iter(dict(backbone.named_parameters())))).grad is not None
    model.eval()
    expected = backbone(image).feature_maps[-1]
    assert torch.equal(model.encoder(image)[-1], expected)


class Fixed(nn.Module):
    """Takes images of one size only, and says what it returns."""

    def __init__(self, **declared: Any) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 8, stride=8)
        for name, value in declared.items():
            setattr(self, name, value)

    def forward(self, x: Tensor) -> list[Tensor]:
        if x.shape[-2:] != (64, 64):
            raise ValueError("expected 64x64")
        return [self.patches(x)]


def test_declared_channels_replace_the_probe() -> None:
    partly = ModuleEncoder(Fixed(channels=[6]))
    assert (partly.channels, partly.reductions) == ((6,), (None,))
    fully = ModuleEncoder(Fixed(channels=[6], reductions=[8]))
    assert (fully.channels, fully.reductions) == ((6,), (8,))
    model = SynergyNet(Fixed(channels=[6]), 3, decoder_channels=(8, 4))
    assert model(torch.rand(2, 3, 64, 64)).depth.shape == (2, 1, 64, 64)


def test_a_failing_probe_is_explained() -> None:
    with pytest.raises(ValueError, match=r"got Fixed, which raised ValueError: expected 64x64") as caught:
        SynergyNet(Fixed(), 3)
    assert "has an attribute `channels`" in str(caught.value)


class Returns(nn.Module):
    def __init__(self, value: Any, **declared: Any) -> None:
        super().__init__()
        self.value = value
        for name, declaration in declared.items():
            setattr(self, name, declaration)

    def forward(self, x: Tensor) -> Any:
        return self.value


@pytest.mark.parametrize("value", [None, [], "maps", [1, 2], [torch.zeros(1, 8)]])
def test_modules_that_return_no_maps(value: Any) -> None:
    with pytest.raises(ValueError, match="SynergyNet: expected an encoder that maps a"):
        build_encoder(Returns(value))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ([torch.zeros(1, 5, 4, 4)], r"expected a map with 6 channels from Returns, got \(1, 5, 4, 4\)"),
        ([torch.zeros(1, 6)], r"expected feature maps \(B, C, h, w\) from Returns, got map 0 of shape \(1, 6\)"),
        ([torch.zeros(1, 6, 4, 4)] * 2, "expected 1 feature maps from Returns, got 2"),
    ],
)
def test_maps_that_differ_from_the_declaration(value: Any, reason: str) -> None:
    encoder = ModuleEncoder(Returns(value, channels=[6], reductions=[8]))
    with pytest.raises(ValueError, match=reason):
        encoder(torch.rand(1, 3, 32, 32))


def test_unknown_names_and_types() -> None:
    with pytest.raises(ValueError, match=r"one of resnet18, .*_lite2, 'timm:NAME' or a Module, got 'vgg16'"):
        SynergyNet("vgg16")
    with pytest.raises(ValueError, match="got 'timm:'"):
        SynergyNet("timm:")
    with pytest.raises(TypeError, match="SynergyNet: expected encoder to be a name or a Module, got int"):
        SynergyNet(50)


def test_optional_packages_are_not_imported_for_own_encoders(monkeypatch: pytest.MonkeyPatch) -> None:
    load = builtins.__import__

    def guarded(name: str, *args: Any, **kwargs: Any) -> Any:
        assert name.partition(".")[0] not in {"timm", "transformers"}
        return load(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", guarded)
    assert build_encoder("resnet18").channels[-1] == 512
