"""Weights of FCRN's up-projections, in the layouts in which they are published, as those of UpProjection.

:meth:`UpProjection.from_fcrn` documents the layouts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

_NAME = "UpProjection.from_fcrn"
# The side of the kernels of the fast form, by the parity of the output row (or column) that they compute.
_SIDES = (3, 2)
# The taps of the transposed kernel that they are, mirrored. An odd row reads the two rows around it where zeros are
# padded behind the map, and the two before it where they are padded in front.
_TAPS = {"trailing": ((0, 2, 4), (1, 3)), "leading": ((0, 2, 4), (3, 5))}


class _Layout(NamedTuple):
    """Where a published block has its parts; a branch has one 5x5 kernel, or A (3x3), B (2x3), C (3x2) and D (2x2)."""

    unpool: tuple[str, ...]
    unpool_norm: str
    conv: str
    norm: str
    shortcut: tuple[str, ...]
    shortcut_norm: str


def _four(pattern: str, marks: str) -> tuple[str, ...]:
    return tuple(pattern.format(mark) for mark in marks)


_LAYOUTS = (
    _Layout(("conv1",), "bn1", "conv1_2", "bn1_2", ("conv2",), "bn2"),
    _Layout(
        ("upper_branch.conv1",),
        "upper_branch.batchnorm1",
        "upper_branch.conv2",
        "upper_branch.batchnorm2",
        ("bottom_branch.conv",),
        "bottom_branch.batchnorm",
    ),
    _Layout(_four("conv1_{}", "1234"), "bn1_1", "conv3", "bn2", _four("conv2_{}", "1234"), "bn1_2"),
    _Layout(_four("br1_Conv{}", "ABCD"), "br1_BN", "Conv", "BN", _four("br2_Conv{}", "ABCD"), "br2_BN"),
)


def converted(weights: Mapping[str, Tensor], padding: str) -> dict[str, Tensor]:
    """The state dict of an UpProjection that computes what a block with ``weights`` does."""
    layout = _layout_of(weights)
    if padding == "leading" and len(layout.unpool) == 1:
        raise ValueError(f"{_NAME}: expected padding='trailing' with 5x5 kernels, which have no other, got 'leading'")
    branches = ((layout.unpool, layout.unpool_norm), (layout.shortcut, layout.shortcut_norm))
    kernels = [_transposed([_kernel(weights, name) for name in names], padding) for names, _ in branches]
    norms = [_norm(weights, norm, names) for names, norm in branches]
    if kernels[0].shape != kernels[1].shape:
        shapes = " and ".join(str(tuple(kernel.shape[:2])) for kernel in kernels)
        raise ValueError(f"{_NAME}: expected two branches of the same channels (in, out), got {shapes}")
    # Both branches share one convolution, side by side.
    return {
        "unpool_conv.weight": torch.cat(kernels, dim=1),
        **{f"unpool_norm.{key}": torch.cat([norm[key] for norm in norms]) for key in norms[0]},
        "conv.weight": _kernel(weights, layout.conv),
        **{f"norm.{key}": value for key, value in _norm(weights, layout.norm, (layout.conv,)).items()},
    }


def _layout_of(weights: Mapping[str, Tensor]) -> _Layout:
    if not isinstance(weights, Mapping):
        raise TypeError(f"{_NAME}: expected weights as a state dict, got {type(weights).__name__}")
    found = {key.rpartition(".")[0] for key in weights}
    for layout in _LAYOUTS:
        if found == {*layout.unpool, layout.unpool_norm, layout.conv, layout.norm, *layout.shortcut,
                     layout.shortcut_norm}:  # fmt: skip
            return layout
    known = " or ".join(f"{layout.unpool[0]}, ..., {layout.shortcut_norm}" for layout in _LAYOUTS)
    raise ValueError(f"{_NAME}: expected the parts of one up-projection, {known}, got {sorted(found)}")


def _kernel(weights: Mapping[str, Tensor], name: str) -> Tensor:
    key = f"{name}.weight"
    if key not in weights or weights[key].dim() != 4:
        got = f"shape {tuple(weights[key].shape)}" if key in weights else "no such tensor"
        raise ValueError(f"{_NAME}: expected {key} of shape (out, in, rows, columns), got {got}")
    return weights[key]


def _transposed(kernels: list[Tensor], padding: str) -> Tensor:
    """The kernel of a transposed convolution, (in, out, rows, columns), from a 5x5 one or from A, B, C and D."""
    if len(kernels) == 1:
        (five,) = kernels
        _check_kernel(five, (5, 5))
        # A transposed convolution spreads a value by the mirrored kernel.
        return five.flip(2, 3).transpose(0, 1)
    taps = _TAPS[padding]
    side = 1 + max(map(max, taps))
    joined = kernels[0].new_zeros(*kernels[0].shape[1::-1], side, side)
    # A computes the pixels of even rows and columns, B those of odd rows, C those of odd columns, D those of both.
    for kernel, (row, column) in zip(kernels, ((0, 0), (1, 0), (0, 1), (1, 1)), strict=True):
        _check_kernel(kernel, (_SIDES[row], _SIDES[column]))
        if kernel.shape[:2] != kernels[0].shape[:2]:
            raise ValueError(
                f"{_NAME}: expected four kernels of the same channels, got {tuple(kernels[0].shape[:2])} and "
                f"{tuple(kernel.shape[:2])}"
            )
        rows = torch.tensor(taps[row], device=kernel.device).view(-1, 1)
        columns = torch.tensor(taps[column], device=kernel.device)
        joined[:, :, rows, columns] = kernel.flip(2, 3).transpose(0, 1)
    return joined


def _check_kernel(kernel: Tensor, size: tuple[int, int]) -> None:
    if kernel.shape[2:] != size:
        raise ValueError(f"{_NAME}: expected a kernel of {size[0]}x{size[1]}, got shape {tuple(kernel.shape)}")


def _norm(weights: Mapping[str, Tensor], name: str, convolutions: tuple[str, ...]) -> dict[str, Tensor]:
    """The batch norm ``name``, with the biases of the convolutions before it in its mean, from which they fall out."""
    try:
        norm = {key: weights[f"{name}.{key}"] for key in ("weight", "bias", "running_mean", "running_var")}
    except KeyError as error:
        raise ValueError(f"{_NAME}: expected a batch norm with running statistics, got no {error}") from error
    biases = [weights[f"{conv}.bias"] for conv in convolutions if f"{conv}.bias" in weights]
    if not biases:
        return norm
    if len(biases) != len(convolutions) or not all(torch.equal(bias, biases[0]) for bias in biases):
        raise ValueError(
            f"{_NAME}: expected one bias for {', '.join(convolutions)}, as a 5x5 kernel has, or none, got others"
        )
    return {**norm, "running_mean": norm["running_mean"] - biases[0]}
