"""Weights of published FCRN blocks: the same outputs as those blocks, each written out here as it is published."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthattn import SynergyNet, UpProjection

LEADING, TRAILING = "leading", "trailing"


def unpool(x: Tensor) -> Tensor:
    """Each value at the top left of a 2x2 cell, zeros elsewhere."""
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[:, :, ::2, ::2] = x
    return out


class Plain(nn.Module):
    """Unpooling by zeros, then a 5x5 convolution in each of two branches."""

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, 5, padding=2, bias=bias)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv1_2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
        self.bn1_2 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(in_channels, out_channels, 5, padding=2, bias=bias)
        self.bn2 = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = unpool(x)
        main = self.bn1_2(self.conv1_2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(main + self.bn2(self.conv2(x)))


SPARSE_TO_DEPTH = {
    "conv1": "upper_branch.conv1",
    "bn1": "upper_branch.batchnorm1",
    "conv1_2": "upper_branch.conv2",
    "bn1_2": "upper_branch.batchnorm2",
    "conv2": "bottom_branch.conv",
    "bn2": "bottom_branch.batchnorm",
}


class Fast(nn.Module):
    """Four small convolutions of the small map, woven together, in each of two branches."""

    def __init__(self, in_channels: int, out_channels: int, padding: str) -> None:
        super().__init__()
        for branch in ("conv1", "conv2"):
            for index, size in enumerate(((3, 3), (2, 3), (3, 2), (2, 2)), start=1):
                setattr(self, f"{branch}_{index}", nn.Conv2d(in_channels, out_channels, size, bias=False))
        self.bn1_1, self.bn1_2 = nn.BatchNorm2d(out_channels), nn.BatchNorm2d(out_channels)
        self.conv3 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.bn2 = nn.BatchNorm2d(out_channels)
        # Left, right, top, bottom.
        self.pads = {
            TRAILING: ((1, 1, 1, 1), (1, 1, 0, 1), (0, 1, 1, 1), (0, 1, 0, 1)),
            LEADING: ((1, 1, 1, 1), (1, 1, 1, 0), (1, 0, 1, 1), (1, 0, 1, 0)),
        }[padding]

    def woven(self, x: Tensor, branch: str) -> Tensor:
        a, b, c, d = (getattr(self, f"{branch}_{i + 1}")(F.pad(x, pad)) for i, pad in enumerate(self.pads))
        out = a.new_zeros(*a.shape[:2], 2 * a.shape[2], 2 * a.shape[3])
        out[:, :, ::2, ::2], out[:, :, 1::2, ::2], out[:, :, ::2, 1::2], out[:, :, 1::2, 1::2] = a, b, c, d
        return out

    def forward(self, x: Tensor) -> Tensor:
        main = self.bn2(self.conv3(F.relu(self.bn1_1(self.woven(x, "conv1")))))
        return F.relu(main + self.bn1_2(self.woven(x, "conv2")))


AUTHORS = {
    **{f"conv{branch}_{i}": f"br{branch}_Conv{mark}" for branch in (1, 2) for i, mark in enumerate("ABCD", start=1)},
    "bn1_1": "br1_BN",
    "bn1_2": "br2_BN",
    "conv3": "Conv",
    "bn2": "BN",
}


def trained(block: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                value.uniform_(0.5, 1.5)
    return block.double().eval()


def renamed(block: nn.Module, names: dict[str, str]) -> dict[str, Tensor]:
    return {
        f"{names.get(part, part)}.{leaf}": value
        for (part, _, leaf), value in ((key.partition("."), value) for key, value in block.state_dict().items())
    }


def check_equal(ours: nn.Module, theirs: nn.Module, bound: float = 1e-12) -> None:
    for size in ((4, 6), (1, 1), (5, 3)):
        x = torch.randn(2, 3, *size, dtype=torch.float64)
        expected = theirs(x)
        assert (ours(x) - expected).abs().max() <= bound * expected.abs().max()


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("names", [{}, SPARSE_TO_DEPTH], ids=["plain", "sparse_to_depth"])
def test_plain_layout(names: dict[str, str], bias: bool) -> None:
    theirs = trained(Plain(3, 4, bias=bias))
    weights = renamed(theirs, names)
    before = copy.deepcopy(weights)
    ours = UpProjection.from_fcrn(weights)
    assert ours.training
    check_equal(ours.eval(), theirs)
    assert all(torch.equal(value, before[key]) for key, value in weights.items())
    # A bias falls out of the statistics of a batch too.
    check_equal(ours.train(), theirs.train(), 1e-11)
    state = ours.state_dict()
    assert state["unpool_conv.weight"].shape == (3, 8, 5, 5)
    # Of the shapes that any UpProjection has: it goes on in a network as it is.
    UpProjection(3, 4).load_state_dict(state)


@pytest.mark.parametrize("padding", [TRAILING, LEADING])
@pytest.mark.parametrize("names", [{}, AUTHORS], ids=["conv1_1", "ConvA"])
def test_four_kernels(names: dict[str, str], padding: Any) -> None:
    theirs = trained(Fast(3, 4, padding))
    ours = UpProjection.from_fcrn(renamed(theirs, names), padding=padding).eval()
    check_equal(ours, theirs)


def test_four_kernels_are_the_parts_of_the_plain_one() -> None:
    """The unpooling that is tested above against itself, against the paper's: 5x5 taps that meet a value."""
    plain, fast = trained(Plain(3, 4, bias=False)), Fast(3, 4, TRAILING)
    parts = {"bn1": "bn1_1", "bn2": "bn1_2", "conv1_2": "conv3", "bn1_2": "bn2"}
    state = {
        f"{parts[part]}.{leaf}": value
        for (part, _, leaf), value in ((key.partition("."), value) for key, value in plain.state_dict().items())
        if part in parts
    }
    for branch in ("conv1", "conv2"):
        five = getattr(plain, branch).weight
        for index, (row, column) in enumerate(((0, 0), (1, 0), (0, 1), (1, 1)), start=1):
            state[f"{branch}_{index}.weight"] = five[:, :, row::2, column::2]
    state["conv3.bias"] = torch.zeros(4)
    fast.double().eval().load_state_dict(state)
    check_equal(fast, plain)
    check_equal(UpProjection.from_fcrn(fast.state_dict()).eval(), plain)


def test_equal_biases_of_four_kernels() -> None:
    theirs = trained(Fast(3, 4, LEADING))
    for branch in ("conv1", "conv2"):
        bias = nn.Parameter(torch.randn(4, dtype=torch.float64))
        for index in "1234":
            getattr(theirs, f"{branch}_{index}").bias = bias
    check_equal(UpProjection.from_fcrn(theirs.state_dict(), padding="leading").eval(), theirs)
    theirs.conv1_2.bias = nn.Parameter(bias + 1)
    with pytest.raises(ValueError, match=r"expected one bias for conv1_1, conv1_2, .* got others"):
        UpProjection.from_fcrn(theirs.state_dict(), padding="leading")


def test_another_epsilon() -> None:
    theirs = trained(Plain(3, 4, bias=False))
    for norm in (theirs.bn1, theirs.bn1_2, theirs.bn2):
        norm.eps = 0.1
    check_equal(UpProjection.from_fcrn(theirs.state_dict(), eps=0.1).eval(), theirs)


@pytest.mark.parametrize("padding", [TRAILING, LEADING])
def test_in_a_network_that_is_folded(padding: Any) -> None:
    torch.manual_seed(0)
    model = SynergyNet(nn.Conv2d(3, 6, 8, stride=8), 2, decoder_channels=(4, 4)).double().eval()
    block = trained(Fast(model.neck[0].out_channels, 4, padding))
    for decoder in (model.depth_decoder, model.semantic_decoder):
        decoder.up_projections[0] = UpProjection.from_fcrn(block.state_dict(), padding=padding).eval()
    image = torch.rand(1, 3, 40, 48, dtype=torch.float64)
    with torch.no_grad():
        for ours, theirs in zip(model.optimize_for_inference()(image), model(image), strict=True):
            assert (ours - theirs).abs().max() <= 1e-10 * theirs.abs().max()


PLAIN = Plain(3, 4, bias=False).state_dict()
FAST = Fast(3, 4, TRAILING).state_dict()


def without(state: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key not in keys}


@pytest.mark.parametrize(
    ("weights", "options", "reason"),
    [
        ({}, {}, r"expected the parts of one up-projection, conv1, \.\.\., bn2 or .*, got \[\]"),
        ({f"up1.{key}": value for key, value in PLAIN.items()}, {}, r"expected the parts .* got \['up1.bn1'"),
        (without(PLAIN, "conv1.weight"), {}, r"expected the parts of one up-projection"),
        (
            without(PLAIN, "bn1.running_var"),
            {},
            "a batch norm with running statistics, got no 'bn1.running_var'",
        ),
        ({**PLAIN, "conv1.weight": torch.zeros(4, 3, 3, 3)}, {}, r"expected a kernel of 5x5, got shape \(4, 3, 3, 3\)"),
        (
            {**PLAIN, "conv1.weight": torch.zeros(4)},
            {},
            r"conv1.weight of shape \(out, in, rows, columns\), got",
        ),
        ({**PLAIN, "conv2.weight": torch.zeros(4, 5, 5, 5)}, {}, r"got \(3, 4\) and \(5, 4\)"),
        (
            {**PLAIN, "conv1_2.weight": torch.zeros(4, 4, 1, 1)},
            {},
            "3 channels in and 4 out, .* for conv.weight",
        ),
        ({**PLAIN, "bn1_2.bias": torch.zeros(5)}, {}, "got others for norm.bias"),
        ({**FAST, "conv1_2.weight": torch.zeros(4, 3, 3, 2)}, {}, "expected a kernel of 2x3, got shape"),
        (
            {**FAST, "conv1_4.weight": torch.zeros(4, 5, 2, 2)},
            {},
            r"kernels of the same channels, got \(4, 3\) and",
        ),
        (PLAIN, {"padding": "leading"}, "expected padding='trailing' with 5x5 kernels, .* got 'leading'"),
        (FAST, {"padding": "left"}, "expected padding as one of trailing, leading, got 'left'"),
        (FAST, {"eps": 0.0}, "expected a finite eps > 0, got 0.0"),
    ],
)
def test_what_is_no_block_of_fcrn(weights: Any, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"^UpProjection.from_fcrn: .*{reason}") as caught:
        UpProjection.from_fcrn(weights, **options)
    assert "\n" not in str(caught.value)


def test_what_is_no_state_dict() -> None:
    with pytest.raises(TypeError, match=r"UpProjection.from_fcrn: expected weights as a state dict, got list"):
        UpProjection.from_fcrn([])  # type: ignore[arg-type]
