"""Lateral sharing as Triton kernels: every feature is read once and every output written once, whatever T is.

The backward kernel writes the gradients of the features and, per program, its part of the gates' gradient.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.triton_utils import fold, launch, locate, wide_type

# Elements of all tiles that a program holds at once: 16 of each of two features for each of 128 threads, and as many
# of their gradients backward.
_ELEMENTS = 4096
# Fewer pixels in a row would leave lanes of a warp without 16-byte accesses; more would waste the ends of small maps.
_PIXELS = 256
_CHANNELS = 128


@triton.jit
def _locate(channels, pixels, CHANNELS: tl.constexpr, PIXELS: tl.constexpr):
    """The image, channels and pixels of this program, 64 bits wide."""
    image, first, pixel = locate(channels, pixels, CHANNELS, PIXELS)
    return image, first + tl.arange(0, CHANNELS), pixel


@triton.jit
def _address(pointer, strides, image, channel, pixel, width, JOINED: tl.constexpr):
    inner = pixel * strides[3]
    if not JOINED:
        inner = (pixel // width) * strides[2] + (pixel % width) * strides[3]
    return pointer + image * strides[0] + channel[:, None] * strides[1] + inner[None, :]


@triton.jit
def _gate(gates, strides, t, u, channel, channels, WIDE: tl.constexpr):
    """gates[t, u] for each channel, as a column."""
    address = gates + t * strides[0] + u * strides[1] + channel * strides[2]
    return tl.load(address, mask=channel < channels, other=0).to(WIDE)[:, None]


@triton.jit
def _forward_kernel(
    features, outputs, feature_strides, output_strides, gates, gate_strides, channels, pixels, width,
    WIDE: tl.constexpr, JOINED: tl.constexpr, CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    image, channel, pixel = _locate(channels, pixels, CHANNELS, PIXELS)
    inside = (channel < channels)[:, None] & (pixel < pixels)[None, :]
    tiles = ()
    for u in tl.static_range(len(features)):
        address = _address(features[u], feature_strides[u], image, channel, pixel, width, JOINED)
        tiles = tiles + (tl.load(address, mask=inside, other=0).to(WIDE),)
    for t in tl.static_range(len(features)):
        mixed = tiles[t]
        for u in tl.static_range(len(features)):
            mixed += _gate(gates, gate_strides, t, u, channel, channels, WIDE) * tiles[u]
        address = _address(outputs[t], output_strides[t], image, channel, pixel, width, JOINED)
        tl.store(address, mixed.to(outputs[t].dtype.element_ty), mask=inside)


@triton.jit
def _backward_kernel(
    grads, features, to_features, grad_strides, feature_strides, to_feature_strides, gates, gate_strides,
    partials, parts, channels, pixels, width,
    PER_CHANNEL: tl.constexpr, WIDE: tl.constexpr, JOINED: tl.constexpr,
    CHANNELS: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    image, channel, pixel = _locate(channels, pixels, CHANNELS, PIXELS)
    inside = (channel < channels)[:, None] & (pixel < pixels)[None, :]
    tasks: tl.constexpr = len(features)
    tiles = ()
    for t in tl.static_range(tasks):
        address = _address(grads[t], grad_strides[t], image, channel, pixel, width, JOINED)
        tiles = tiles + (tl.load(address, mask=inside, other=0).to(WIDE),)
    # A part of the gates' gradient belongs to an image and its pixels, and without gates per channel to a program.
    across = tl.cdiv(pixels, PIXELS)
    program = tl.program_id(0).to(tl.int64)
    part = program % across + image * across if PER_CHANNEL else program
    for u in tl.static_range(tasks):
        mixed = tiles[u]
        for t in tl.static_range(tasks):
            mixed += _gate(gates, gate_strides, t, u, channel, channels, WIDE) * tiles[t]
        address = _address(to_features[u], to_feature_strides[u], image, channel, pixel, width, JOINED)
        tl.store(address, mixed.to(to_features[u].dtype.element_ty), mask=inside)
        address = _address(features[u], feature_strides[u], image, channel, pixel, width, JOINED)
        x = tl.load(address, mask=inside, other=0).to(WIDE)
        for t in tl.static_range(tasks):
            if PER_CHANNEL:
                row = partials + (channel + (t * tasks + u) * channels) * parts + part
                tl.store(row, tl.sum(tiles[t] * x, 1), mask=channel < channels)
            else:
                tl.store(partials + (t * tasks + u) * parts.to(tl.int64) + part, tl.sum(tiles[t] * x))


def _rows_join(x: Tensor) -> bool:
    """Whether all axes behind the channels are one in memory."""
    return all(x.stride(d) == x.shape[d + 1] * x.stride(d + 1) for d in range(2, x.ndim - 1))


def _one_dense_layout(tensors: Sequence[Tensor]) -> bool:
    """Whether all tensors have their elements in one order, without gaps."""
    first = tensors[0]
    order = sorted(range(first.ndim), key=first.stride, reverse=True)
    return first.permute(order).is_contiguous() and all(x.stride() == first.stride() for x in tensors)


def _views(tensors: Sequence[Tensor], per_channel: bool) -> tuple[list[Tensor], bool]:
    """Views (B,C,H,W) of all tensors, and whether H is one: then the kernels need not find the row of a pixel."""
    if not per_channel and _one_dense_layout(tensors):
        return [x.as_strided((1, 1, 1, x.numel()), (0, 0, 0, 1)) for x in tensors], True
    if all(_rows_join(x) for x in tensors):
        return [x.reshape(*x.shape[:2], 1, math.prod(x.shape[2:])) for x in tensors], True
    return list(tensors), False


def _shape(view: Tensor, tasks: int) -> dict[str, int]:
    """The tile: long in the axis that is contiguous, and smaller the more features share the registers."""
    channels, pixels = view.shape[1], view.shape[2] * view.shape[3]
    elements = max(_ELEMENTS // triton.next_power_of_2(max(tasks, 2)), 128)
    if view.stride(1) < view.stride(3):
        across = min(_CHANNELS, triton.next_power_of_2(max(channels, 1)))
        return {"CHANNELS": across, "PIXELS": max(elements // across, 1)}
    across = min(_PIXELS if channels > 1 else elements, triton.next_power_of_2(max(pixels, 1)), elements)
    return {"CHANNELS": min(elements // across, triton.next_power_of_2(max(channels, 1))), "PIXELS": across}


def _gate_strides(gates: Tensor) -> tuple[int, int, int]:
    return gates.stride(0), gates.stride(1), gates.stride(2) if gates.ndim == 3 else 0


def _programs(view: Tensor, shape: dict[str, int]) -> tuple[int, int]:
    """How many programs there are, and how many of them side by side cover the pixels of an image."""
    across = triton.cdiv(view.shape[2] * view.shape[3], shape["PIXELS"])
    return view.shape[0] * triton.cdiv(view.shape[1], shape["CHANNELS"]) * across, across


def _four_axes(tensors: Sequence[Tensor]) -> list[Tensor]:
    """The tensors, as contiguous copies where more than two axes behind the channels do not join."""
    return [x if x.ndim <= 4 or _rows_join(x) else x.contiguous() for x in tensors]


def forward(features: list[Tensor], gates: Tensor) -> list[Tensor]:
    """The T mixed features, each laid out as ``torch.empty_like`` of its own."""
    tasks = len(features)
    outputs = [torch.empty_like(x) for x in features]
    written = _four_axes(outputs)
    views, joined = _views([*_four_axes(features), *written], gates.ndim == 3)
    shape = _shape(views[0], tasks)
    strides = tuple(v.stride() for v in views)
    launch(
        _forward_kernel, _programs(views[0], shape)[0], gates, tuple(views[:tasks]), tuple(views[tasks:]),
        strides[:tasks], strides[tasks:], gates, _gate_strides(gates),
        views[0].shape[1], views[0].shape[2] * views[0].shape[3], views[0].shape[3],
        WIDE=wide_type(compute_dtype(*features, gates)), JOINED=joined, **shape,
    )  # fmt: skip
    return [y if y is w else y.copy_(w) for y, w in zip(outputs, written, strict=True)]


def backward(grads: list[Tensor], features: list[Tensor], gates: Tensor) -> tuple[list[Tensor], Tensor]:
    """The gradients to the features and to the gates."""
    tasks, per_channel = len(features), gates.ndim == 3
    wide = compute_dtype(*features, gates)
    to_features = [torch.empty_like(x) for x in features]
    written = _four_axes(to_features)
    views, joined = _views([*_four_axes(features), *_four_axes(grads), *written], per_channel)
    shape = _shape(views[0], 2 * tasks)
    programs, across = _programs(views[0], shape)
    channels = views[0].shape[1] if per_channel else 1
    parts = views[0].shape[0] * across if per_channel else programs
    partials = gates.new_empty(tasks * tasks * channels, parts, dtype=wide)
    strides = tuple(v.stride() for v in views)
    launch(
        _backward_kernel, programs, gates, tuple(views[tasks : 2 * tasks]), tuple(views[:tasks]),
        tuple(views[2 * tasks :]), strides[tasks : 2 * tasks], strides[:tasks], strides[2 * tasks :],
        gates, _gate_strides(gates), partials, parts,
        views[0].shape[1], views[0].shape[2] * views[0].shape[3], views[0].shape[3],
        PER_CHANNEL=per_channel, WIDE=wide_type(wide), JOINED=joined, **shape,
    )  # fmt: skip
    to_gates = gates.new_empty(gates.shape)
    fold([partials], [to_gates])
    return [y if y is w else y.copy_(w) for y, w in zip(to_features, written, strict=True)], to_gates
