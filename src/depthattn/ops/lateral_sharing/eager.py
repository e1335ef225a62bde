"""Lateral sharing as plain tensor code: tile by tile, so that every feature comes from memory once.

See docs/derivations/lateral_sharing.md.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.lateral_sharing.layout import as_blocks, block_slices
from depthattn.ops.masking import compute_dtype


def forward(features: list[Tensor], gates: Tensor) -> list[Tensor]:
    outputs = [torch.empty_like(x) for x in features]
    blocks, targets = as_blocks(gates.ndim == 3, features, outputs)
    weights = _weights(gates, compute_dtype(*features, gates), blocks[0])
    for channels, tiles in block_slices(blocks[0], len(features)):
        part = weights[:, :, channels]
        for tile in tiles:
            _mix([x[tile].to(weights.dtype) for x in blocks], part, [y[tile] for y in targets])
    return outputs


def backward(grads: list[Tensor], features: list[Tensor], gates: Tensor) -> tuple[list[Tensor], Tensor]:
    tasks = len(features)
    to_features = [torch.empty_like(x) for x in features]
    incoming, blocks, targets = as_blocks(gates.ndim == 3, grads, features, to_features)
    weights = _weights(gates, compute_dtype(*features, gates), blocks[0])
    to_gates = gates.new_zeros(weights.shape[:3], dtype=weights.dtype)
    for channels, tiles in block_slices(blocks[0], tasks * tasks):
        part = weights[:, :, channels].transpose(0, 1)
        products = None
        for tile in tiles:
            wide_grads = [g[tile].to(weights.dtype) for g in incoming]
            wide = [x[tile].to(weights.dtype) for x in blocks]
            _mix(wide_grads, part, [y[tile] for y in targets])
            if products is None:
                # Sums of products stay spread over a tile until its channels are done: one pass instead of two.
                products = torch.zeros((tasks, tasks, *wide[0].shape), dtype=weights.dtype, device=gates.device)
            corner = tuple(slice(0, length) for length in wide[0].shape)
            for row, grad in zip(products, wide_grads, strict=True):
                for product, x in zip(row, wide, strict=True):
                    product[corner].addcmul_(grad, x)
        if products is not None:
            axes = [axis for axis in range(2, products.ndim) if axis != 3]
            to_gates[:, :, channels] = products.sum(axes)
    if gates.ndim == 2:
        to_gates = to_gates.sum(2)
    return to_features, to_gates.to(gates.dtype)


def _weights(gates: Tensor, dtype: torch.dtype, block: Tensor) -> Tensor:
    """Identity + gates, (T,T,...) with one weight per index of axis 1 of ``block``, shaped to multiply its tiles."""
    identity = torch.eye(len(gates), dtype=dtype, device=gates.device)
    weights = gates.to(dtype).view(*gates.shape[:2], -1) + identity.unsqueeze(2)
    return weights.expand(-1, -1, block.shape[1]).view(*gates.shape[:2], -1, *(1,) * (block.ndim - 2))


def _mix(tiles: list[Tensor], weights: Tensor, targets: list[Tensor]) -> None:
    """Write sum_u weights[t,u] tiles[u] to targets[t]."""
    for row, target in zip(weights, targets, strict=True):
        direct = target.dtype == weights.dtype
        total = torch.mul(tiles[0], row[0], out=target) if direct else tiles[0] * row[0]
        for tile, weight in zip(tiles[1:], row[1:], strict=True):
            total.addcmul_(tile, weight)
        if not direct:
            target.copy_(total)
