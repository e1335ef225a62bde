"""Lateral sharing as plain tensor code: tile by tile, so that every feature comes from memory once.

See docs/derivations/lateral_sharing.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from depthattn.ops.lateral_sharing.layout import as_blocks, cut, tile_shape
from depthattn.ops.masking import compute_dtype


def forward(features: list[Tensor], gates: Tensor) -> list[Tensor]:
    outputs = [torch.empty_like(x) for x in features]
    if outputs[0].numel() == 0:
        return outputs
    tasks = len(features)
    blocks, targets = as_blocks(gates.ndim == 3, features, outputs)
    weights = block_weights(gates, compute_dtype(*features, gates), blocks[0])
    shape = tile_shape(blocks[0], _buffers(0, tasks + 2, weights, features))
    for span, rows in zip(cut(blocks + targets, shape), torch.split(weights, shape[1], 2), strict=True):
        mix = [row.unbind() for row in rows]
        for tile in span:
            _mix([x.to(weights.dtype) for x in tile[:tasks]], mix, tile[tasks:])
    return outputs


def backward(grads: list[Tensor], features: list[Tensor], gates: Tensor) -> tuple[list[Tensor], Tensor]:
    to_features = [torch.empty_like(x) for x in features]
    if features[0].numel() == 0:
        return to_features, gates.new_zeros(gates.shape)
    tasks = len(features)
    incoming, blocks, targets = as_blocks(gates.ndim == 3, grads, features, to_features)
    weights = block_weights(gates, compute_dtype(*features, gates), blocks[0])
    shape = tile_shape(blocks[0], _buffers(tasks * tasks, 2 * tasks + 2, weights, features))
    to_gates = []
    for span, rows in zip(
        cut(incoming + blocks + targets, shape), torch.split(weights.transpose(0, 1), shape[1], 2), strict=True
    ):
        mix = [row.unbind() for row in rows]
        # Sums of products stay spread over a tile until its channels are done: one pass for each instead of two.
        products = weights.new_zeros(tasks * tasks, *span[0][0].shape)
        whole = products.unbind()
        for tile in span:
            wide = [x.to(weights.dtype) for x in tile[: 2 * tasks]]
            _mix(wide[:tasks], mix, tile[2 * tasks :])
            fits = tile[0].shape == whole[0].shape
            sums = whole if fits else [_corner(product, tile[0]) for product in whole]
            for index, product in enumerate(sums):
                product.addcmul_(wide[index // tasks], wide[tasks + index % tasks])
        to_gates.append(products.sum([axis for axis in range(1, products.ndim) if axis != 2]))
    of_gates = torch.cat(to_gates, 1) if gates.ndim == 3 else torch.cat(to_gates, 1).sum(1)
    return to_features, of_gates.to(gates.dtype).view(gates.shape)


def block_weights(gates: Tensor, dtype: torch.dtype, block: Tensor) -> Tensor:
    """Identity + gates, (T,T,...) with one weight per index of axis 1 of ``block``, shaped to multiply its tiles."""
    tasks = len(gates)
    identity = torch.eye(tasks, dtype=dtype, device=gates.device)
    weights = gates.to(dtype).reshape(tasks, tasks, -1) + identity.unsqueeze(2)
    return weights.expand(-1, -1, block.shape[1])[(..., *(None,) * (block.ndim - 2))]


def _buffers(sums: int, copies: int, weights: Tensor, features: list[Tensor]) -> int:
    """Tiles that a tile needs beside itself: its sums, and copies where it computes in a wider dtype."""
    ratio = weights.element_size() // features[0].element_size()
    return sums if ratio == 1 else ratio * (sums + copies)


def _mix(tiles: Sequence[Tensor], weights: Sequence[Sequence[Tensor]], targets: Sequence[Tensor]) -> None:
    """Write sum_u weights[t][u] tiles[u] to targets[t]."""
    for row, target in zip(weights, targets, strict=True):
        direct = target.dtype == tiles[0].dtype
        total = torch.mul(tiles[0], row[0], out=target) if direct else tiles[0] * row[0]
        for tile, weight in zip(tiles[1:], row[1:], strict=True):
            total.addcmul_(tile, weight)
        if not direct:
            target.copy_(total)


def _corner(buffer: Tensor, tile: Tensor) -> Tensor:
    """The part of ``buffer`` that a smaller tile at the end of an axis covers."""
    return buffer[: tile.shape[0], :, : tile.shape[2]]
