"""optimize_for_inference: the same outputs from fewer modules, whatever the encoder."""

from __future__ import annotations

import copy
import warnings
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from depthattn import SynergyNet
from depthattn.layers.lateral_sharing import LateralSharingUnit
from depthattn.models.inference import FoldedSharing


def trained(model: SynergyNet, gates: float = 0.5) -> SynergyNet:
    """The model with statistics, gains and gates that are none of the starting ones."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_var, module.weight):
                if value is not None:
                    value.data.uniform_(0.5, 1.5)
            for value in (module.running_mean, module.bias):
                if value is not None:
                    value.data.uniform_(-0.5, 0.5)
    for unit in model.sharing_units:
        for row in unit.weight:
            row.data.uniform_(-gates, gates)
    return model


def tiny(encoder: str | None = None, **options: Any) -> SynergyNet:
    module = encoder or Chain(nn.Identity())
    return trained(SynergyNet(module, 5, decoder_channels=(16, 8, 8), **options))


def check_equal(fast: SynergyNet, model: SynergyNet, bound: float, size: tuple[int, int] = (65, 97)) -> None:
    image = torch.rand(2, 3, *size, dtype=model.dtype)
    with torch.no_grad():
        for ours, theirs in zip(fast(image), copy.deepcopy(model).eval()(image), strict=True):
            assert (ours - theirs).abs().max() <= bound * theirs.abs().max()


def norms(model: nn.Module) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize(
    ("encoder", "options"),
    [
        ("resnet18", {"encoder_skips": True}),
        ("efficientnet_lite0", {}),
        (None, {}),
        (None, {"sharing": "channel"}),
        (None, {"sharing": None, "up_skip": False}),
    ],
)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_equal_outputs_without_batch_norms(
    encoder: str | None, options: dict[str, Any], dtype: torch.dtype, bound: float
) -> None:
    model = tiny(encoder, **options).to(dtype)
    fast = model.optimize_for_inference()
    assert norms(fast) == []
    assert not any(isinstance(module, LateralSharingUnit) for module in fast.modules())
    check_equal(fast, model, bound)


def test_the_model_itself_stays_as_it_is() -> None:
    model = tiny().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    fast = model.optimize_for_inference()
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    assert not fast.training
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert fast.gates() == {}
    assert fast.depth_decoder.up_projections[0].conv.weight.is_contiguous(memory_format=torch.channels_last)
    # A second time there is nothing left to fold.
    check_equal(fast.optimize_for_inference(), fast, 0.0)


def test_sharing_costs_nothing_where_no_gate_is_open() -> None:
    model = trained(SynergyNet(Chain(nn.Identity()), 5, decoder_channels=(8, 8)), gates=0.0)
    unit = model.optimize_for_inference().sharing_units[0]
    depth, labels = torch.rand(1, 8, 4, 4), torch.rand(1, 8, 4, 4)
    assert isinstance(unit, FoldedSharing)
    shared = unit(depth, labels)
    assert shared[0] is depth
    assert shared[1] is labels


def test_a_task_that_keeps_nothing_of_itself() -> None:
    model = trained(SynergyNet(Chain(nn.Identity()), 5, decoder_channels=(8, 8)))
    model.sharing_units[0].weight[0].data[0] = -1.0
    fast = model.optimize_for_inference()
    assert isinstance(fast.sharing_units[0], LateralSharingUnit)
    check_equal(fast, model, 1e-5)


def test_half_precision_rounds_once() -> None:
    model = tiny().bfloat16()
    fast = model.optimize_for_inference()
    conv, norm = model.depth_decoder.up_projections[0].conv, model.depth_decoder.up_projections[0].norm
    exact = conv.weight.double() * (norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()).view(
        -1, 1, 1, 1
    )
    folded = fast.depth_decoder.up_projections[0].conv.weight
    assert folded.dtype == torch.bfloat16
    # float32 comes between, so that a tie of bfloat16 may go the other way: half a step of eight bits, and a hair.
    assert ((folded.double() - exact).abs() <= 1.001 * 2**-9 * 2 * exact.abs()).all()


class Chain(nn.Module):
    """An encoder of stride 8 whose second block is up to the test."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.BatchNorm2d(b)) for a, b in pairwise((3, 4, 6, 8))
        )
        self.block = block

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return [*maps[:2], self.block(maps[2])]


class InPlace(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv2d(8, 8, 1), nn.ReLU(inplace=True), nn.BatchNorm2d(8))


class Twice(nn.Module):
    """A convolution that two batch norms read."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.a, self.b = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.a(x) + self.b(x)


class Skipping(nn.Module):
    """A convolution whose output is read beside the batch norm too."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return x + self.norm(x)


class Shared(nn.Module):
    """One convolution and one batch norm, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.norm(self.conv(x))))


class Loose(nn.Sequential):
    """Batch norms that cannot go anywhere: one behind nothing, one without running statistics."""

    def __init__(self) -> None:
        super().__init__(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, track_running_stats=False))


class Transposed(nn.Sequential):
    """What torch's fusion gets wrong (groups), and what it gets right (no affine part)."""

    def __init__(self) -> None:
        super().__init__(
            nn.ConvTranspose2d(8, 8, 1, groups=2), nn.BatchNorm2d(8),
            nn.ConvTranspose2d(8, 8, 1), nn.BatchNorm2d(8, affine=False),
        )  # fmt: skip


def branching(sign: float) -> nn.Module:
    class Branching(nn.Sequential):
        """Control flow on values, which no tracer follows."""

        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if bool((x * sign).abs().sum() >= 0) else x

    return Branching(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))


@pytest.mark.parametrize(
    ("block", "kept"),
    [
        (InPlace(), ["block.2"]),
        (Shared(), ["block.norm"]),
        (Loose(), ["block.0", "block.2"]),
        (Transposed(), ["block.1"]),
        (branching(1.0), []),
        (Twice(), ["stages.0.1", "stages.1.1", "stages.2.1", "block.a", "block.b"]),
        (Skipping(), ["stages.0.1", "stages.1.1", "stages.2.1", "block.norm"]),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_any_encoder_is_folded_where_it_is_safe(block: nn.Module, kept: list[str]) -> None:
    model = trained(SynergyNet(Chain(block), 5, decoder_channels=(8, 8, 4))).double()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fast = model.optimize_for_inference()
    assert norms(fast.encoder) == [f"module.{name}" for name in kept]
    check_equal(fast, model, 1e-10, (64, 64))
    assert len(caught) == bool(kept)
    if kept:
        assert str(caught[0].message).startswith("SynergyNet.optimize_for_inference: ")
        assert "batch norms of the encoder stay as they are" in str(caught[0].message)
        assert caught[0].filename == __file__


class FixedSize(nn.Module):
    """An encoder that takes 64x64 images only, as some transformers do."""

    channels = (4,)
    reductions = (2,)

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != (64, 64):
            raise ValueError("expected 64x64")
        return self.norm(self.conv(x))


def test_an_encoder_that_cannot_be_run_is_left_whole() -> None:
    model = trained(SynergyNet(FixedSize(), 5, decoder_channels=(4,))).double()
    with pytest.warns(UserWarning, match=r"all 1 batch norms of the encoder stay .* takes no 224x224 image"):
        fast = model.optimize_for_inference()
    assert norms(fast) == ["encoder.module.norm"]
    check_equal(fast, model, 1e-10, (64, 64))
