"""Bands of rows that exist at full size only in cache: resized, turned into their gradient, and led back.

See docs/derivations/semantic_focal.md.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.resize import SparseRows, axis, source_span, taps
from depthattn.ops.semantic_focal.tiled import FocalSums, Sums, add_up_sums
from depthattn.ops.tiling import SCRATCH_PART, SMALLEST_TILE, largest_tile, tiles

# Elements per thread. Larger tiles would be fetched from the system and returned to it each time.
_TILE = 1 << 18


class _Band(NamedTuple):
    """Rows of the logits that a band of labels reads, and the weights between the two, there and back."""

    sources: slice
    up: SparseRows
    down: SparseRows


class _Resizing:
    """The plan of one call: its tiles, and the sparse matrices of both axes."""

    def __init__(self, logits: Tensor, target: Tensor) -> None:
        batch, self.classes, height, width = logits.shape
        rows, self.columns = target.shape[1:]
        self.like = logits.new_empty(0, dtype=compute_dtype(logits))
        row = self.classes * max(self.columns, math.ceil(height * max(width, self.columns) / rows))
        elements = max(batch * rows * row // SCRATCH_PART, SMALLEST_TILE)
        self.cuts = list(tiles(batch, rows, row, min(elements, largest_tile(logits.device, _TILE))))
        self.planes = self.classes * max((images.stop - images.start for images, _ in self.cuts), default=0)
        self.across = axis(width, self.columns, "bilinear", self.like)
        self.across_back = self.across.transposed()
        spans = dict.fromkeys((span.start, span.stop) for _, span in self.cuts)
        self.bands = {span: self._band(slice(*span), height, rows) for span in spans}

    def _band(self, span: slice, height: int, rows: int) -> _Band:
        sources = source_span(span, height, rows)
        index, weight = taps(height, rows, "bilinear", self.like, span)
        up = SparseRows.from_taps(index - sources.start, weight, sources.stop - sources.start)
        return _Band(sources, up.block_diagonal(self.planes), up.transposed().block_diagonal(self.planes))

    def up(self, band: _Band, logits: Tensor) -> Tensor:
        """Rows of logits (b,K,s,w) resized to the band, (b,K,n)."""
        columns = logits.reshape(-1, logits.shape[3]).to(self.like.dtype).t().contiguous()
        stage = (self.across @ columns).t().contiguous()
        part = logits.shape[0] * self.classes
        return (band.up.first(part, self.planes) @ stage).view(logits.shape[0], self.classes, -1)

    def down(self, band: _Band, gradient: Tensor) -> Tensor:
        """The adjoint: (b,K,n) to (b,K,s,w)."""
        part = gradient.shape[0] * self.classes
        stage = band.down.first(part, self.planes) @ gradient.view(-1, self.columns)
        columns = self.across_back @ stage.t().contiguous()
        return columns.t().reshape(gradient.shape[0], self.classes, -1, columns.shape[0])


def forward(
    focal_sums: FocalSums,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    gamma: float,
    ignore_index: int,
    keep_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    gradient = logits.new_zeros(logits.shape if keep_gradient else 0)
    sums = _run(focal_sums, logits, target, weight, gamma, ignore_index, gradient if keep_gradient else None)
    return *sums, gradient


def backward(
    focal_sums: FocalSums,
    scale: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    gamma: float,
    ignore_index: int,
) -> Tensor:
    gradient = logits.new_zeros(logits.shape, dtype=compute_dtype(logits))
    _run(focal_sums, logits, target, weight, gamma, ignore_index, gradient)
    return gradient.mul_(scale.view(-1, 1, 1, 1)).to(logits.dtype)


def _run(
    focal_sums: FocalSums,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    gamma: float,
    ignore_index: int,
    gradient: Tensor | None,
) -> Sums:
    plan = _Resizing(logits, target)
    parts = []
    for images, span in plan.cuts:
        band = plan.bands[span.start, span.stop]
        tile = plan.up(band, logits[images, :, band.sources])
        labels = target[images, span].flatten(1)
        parts.append(focal_sums(tile, labels, weight, gamma, ignore_index, tile, gradient is not None))
        if gradient is not None:
            # One band after the other: neighbours share rows of the logits, and the order of sums stays fixed.
            gradient[images, :, band.sources] += plan.down(band, tile)
    return add_up_sums(parts, logits)
