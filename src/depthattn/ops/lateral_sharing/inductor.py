"""Lateral sharing through torch.compile: one generated loop over all features instead of one per operator and tile."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.compiled import Compiled
from depthattn.ops.lateral_sharing.eager import block_weights
from depthattn.ops.lateral_sharing.layout import as_blocks, memory_order
from depthattn.ops.masking import compute_dtype


def forward(features: list[Tensor], gates: Tensor) -> list[Tensor]:
    (blocks,) = as_blocks(gates.ndim == 3, features)
    weights = block_weights(gates, compute_dtype(*features, gates), blocks[0])
    outputs: list[Tensor] = _mixed(*_no_views([weights, *blocks]))
    return _laid_out(outputs, features, memory_order(features) is not None)


def backward(grads: list[Tensor], features: list[Tensor], gates: Tensor) -> tuple[list[Tensor], Tensor]:
    incoming, blocks = as_blocks(gates.ndim == 3, grads, features)
    weights = block_weights(gates, compute_dtype(*features, gates), blocks[0])
    to_features, to_gates = _mixed_back(*_no_views([weights, *incoming, *blocks]), dtype=features[0].dtype)
    to_gates = to_gates if gates.ndim == 3 else to_gates.sum(1)
    to_gates = to_gates.to(gates.dtype).view(gates.shape)
    return _laid_out(to_features, features, memory_order(grads + features) is not None), to_gates


def _mix(weights: Tensor, *features: Tensor) -> list[Tensor]:
    """sum_u weights[t,u] x_u for each t."""
    wide = [x.to(weights.dtype) for x in features]
    mixed = []
    for row in weights.unbind():
        total = row[0] * wide[0]
        for weight, x in zip(row.unbind()[1:], wide[1:], strict=True):
            total = total + weight * x
        mixed.append(total.to(features[0].dtype))
    return mixed


def _mix_back(weights: Tensor, *tensors: Tensor, dtype: torch.dtype) -> tuple[list[Tensor], Tensor]:
    """Tensors are T gradients, then T features; returns gradients of the features and, (T*T,C), of the weights."""
    tasks = len(tensors) // 2
    grads, features = tensors[:tasks], [x.to(weights.dtype) for x in tensors[tasks:]]
    axes = [axis for axis in range(features[0].ndim) if axis != 1]
    products = [(g.to(weights.dtype) * x).sum(axes) for g in grads for x in features]
    return [g.to(dtype) for g in _mix(weights.transpose(0, 1), *grads)], torch.stack(products)


def _no_views(tensors: list[Tensor]) -> list[Tensor]:
    """The same memory as tensors of their own: of a view, torch.compile guards on the sizes of its base as well."""
    return [x.new_empty(0).set_(x) for x in tensors]  # type: ignore[call-overload]  # torch's stubs leave it out


def _laid_out(blocks: list[Tensor], features: list[Tensor], dense: bool) -> list[Tensor]:
    """Results for blocks as tensors with the shapes and layouts of the features."""
    if dense:
        return [y.as_strided(x.shape, x.stride()) for y, x in zip(blocks, features, strict=True)]
    return [torch.empty_like(x).copy_(y.reshape(x.shape)) for y, x in zip(blocks, features, strict=True)]


_mixed = Compiled(_mix)
_mixed_back = Compiled(_mix_back)
