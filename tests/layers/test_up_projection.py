"""UpProjection against unpooling by zeros and a 5x5 convolution, as the paper of FCRN states it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthattn import UpProjection


def unpool(x: Tensor) -> Tensor:
    """Each value at the top left of a 2x2 cell, zeros elsewhere."""
    out = x.new_zeros(*x.shape[:2], 2 * x.shape[2], 2 * x.shape[3])
    out[:, :, ::2, ::2] = x
    return out


def four_kernels(in_channels: int, out_channels: int, dtype: torch.dtype) -> dict[tuple[int, int], Tensor]:
    """FCRN's 3x3, 3x2, 2x3 and 2x2 kernels, by the parity of the output pixel (row, column)."""
    sizes = {(0, 0): (3, 3), (0, 1): (3, 2), (1, 0): (2, 3), (1, 1): (2, 2)}
    return {parity: torch.randn(out_channels, in_channels, *size, dtype=dtype) for parity, size in sizes.items()}


def joined(kernels: dict[tuple[int, int], Tensor]) -> Tensor:
    """The 5x5 convolution kernel whose taps on a value, not on an inserted zero, are the four kernels.

    At an even row the taps 0, 2, 4 of the padded 5-tap column meet values, at an odd row the taps 1 and 3.
    """
    out_channels, in_channels = kernels[0, 0].shape[:2]
    five = torch.zeros(out_channels, in_channels, 5, 5, dtype=kernels[0, 0].dtype)
    for (row, column), kernel in kernels.items():
        five[:, :, row::2, column::2] = kernel
    return five


def interleaved(x: Tensor, kernels: dict[tuple[int, int], Tensor], bias: Tensor) -> Tensor:
    """FCRN's fast form: four small convolutions of the small map, woven together."""
    out = x.new_zeros(x.shape[0], bias.numel(), 2 * x.shape[2], 2 * x.shape[3])
    for (row, column), kernel in kernels.items():
        left, top = 1 - column, 1 - row
        padded = F.pad(x, (left, 1, top, 1))
        out[:, :, row::2, column::2] = F.conv2d(padded, kernel, bias)
    return out


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("size", [(4, 6), (5, 3), (1, 1)])
def test_fast_form_is_unpooling_then_five_by_five(size: tuple[int, int], dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=dtype)
    kernels, bias = four_kernels(3, 8, dtype), torch.randn(8, dtype=dtype)
    five = joined(kernels)
    slow = F.conv2d(unpool(x), five, bias, padding=2)

    layer = UpProjection(3, 4).to(dtype).unpool_conv
    # A transposed convolution spreads a value by the mirrored kernel.
    layer.weight.data.copy_(five.flip(2, 3).transpose(0, 1))
    layer.bias = nn.Parameter(bias)

    scale = slow.abs().max()
    assert (layer(x) - slow).abs().max() <= bound * scale
    assert (interleaved(x, kernels, bias) - slow).abs().max() <= bound * scale


def reference(up: UpProjection, x: Tensor, size: tuple[int, int]) -> Tensor:
    """The block from the paper's picture: two branches, each with its own unpooling, convolutions and norms."""

    def norm(y: Tensor, layer: nn.BatchNorm2d, channels: slice) -> Tensor:
        shape = (1, -1, 1, 1)
        mean, var = layer.running_mean[channels].view(shape), layer.running_var[channels].view(shape)
        gamma, beta = layer.weight[channels].view(shape), layer.bias[channels].view(shape)
        return (y - mean) / (var + layer.eps).sqrt() * gamma + beta

    five = up.unpool_conv.weight.flip(2, 3).transpose(0, 1)
    main, side = slice(0, up.out_channels), slice(up.out_channels, None)
    a = F.conv2d(unpool(x), five[main], padding=2)[:, :, : size[0], : size[1]]
    b = F.conv2d(unpool(x), five[side], padding=2)[:, :, : size[0], : size[1]]
    a = F.conv2d(norm(a, up.unpool_norm, main).clamp(min=0), up.conv.weight, padding=1)
    return (norm(a, up.norm, slice(None)) + norm(b, up.unpool_norm, side)).clamp(min=0)


@pytest.mark.parametrize("size", [None, (8, 10), (7, 10), (8, 9), (7, 9)])
def test_block_equals_its_description(size: tuple[int, int] | None) -> None:
    torch.manual_seed(1)
    up = UpProjection(3, 4).double().eval()
    for layer in (up.unpool_norm, up.norm):
        for value in (layer.running_mean, layer.running_var, layer.weight.data, layer.bias.data):
            value.uniform_(0.5, 1.5)
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    out = up(x, size)
    expected = reference(up, x, size or (8, 10))
    assert out.shape == expected.shape
    assert (out - expected).abs().max() <= 1e-12 * expected.abs().max()


def test_statistics_are_those_of_the_cropped_map() -> None:
    torch.manual_seed(2)
    up = UpProjection(3, 4).double()
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    up(x, (7, 9))
    cropped = up.unpool_conv(x)[:, :, :7, :9]
    expected = up.unpool_norm.momentum * cropped.mean((0, 2, 3))
    assert torch.allclose(up.unpool_norm.running_mean, expected, rtol=0, atol=1e-14)


def test_every_output_parity_starts_with_the_same_spread() -> None:
    torch.manual_seed(3)
    up = UpProjection(64, 128)
    y = up.unpool_conv(torch.randn(4, 64, 16, 16))[:, :, 4:-4, 4:-4]
    variances = torch.stack([y[:, :, row::2, column::2].var() for row in (0, 1) for column in (0, 1)])
    assert (variances - 2.0).abs().max() < 0.15


def test_memory_format_and_gradients_in_channels_last() -> None:
    torch.manual_seed(4)
    up = UpProjection(8, 4)
    x = torch.randn(2, 8, 4, 4)
    other = copy.deepcopy(up).to(memory_format=torch.channels_last)
    y, z = up(x), other(x.to(memory_format=torch.channels_last))
    assert z.is_contiguous(memory_format=torch.channels_last)
    assert torch.allclose(y, z, atol=1e-5)
    y.square().sum().backward()
    z.square().sum().backward()
    for ours, theirs in zip(up.parameters(), other.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("size", [(6, 10), (9, 10), (8, 11), (8, 8)])
def test_sizes_beyond_one_row_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"UpProjection: expected size to be \(8, 10\) or up to one less"):
        UpProjection(3, 4)(torch.rand(1, 3, 4, 5), size)


@pytest.mark.parametrize("shape", [(3, 4, 5), (1, 4, 4, 5)])
def test_inputs_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"UpProjection: expected x of shape \(B, 3, h, w\), got"):
        UpProjection(3, 4)(torch.rand(shape))


@pytest.mark.parametrize(("channels", "name"), [((0, 4), "in_channels"), ((3, 0), "out_channels")])
def test_channel_counts_are_checked(channels: tuple[int, int], name: str) -> None:
    with pytest.raises(ValueError, match=f"UpProjection: expected a finite {name} >= 1, got 0"):
        UpProjection(*channels)
