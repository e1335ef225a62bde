"""Forward and backward where counting goes ahead of the pass that writes the gradient, tiled or compiled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from depthattn.ops.attention_depth.reference import Options
from depthattn.ops.reduce import denominators


@dataclass(frozen=True)
class CountedAhead:
    """The passes of a backend, from its three steps.

    Args:
        normalisers: of pred, target, mask and ``max_depth``, (B,).
        counts: valid pixels and windows of both kinds, (3,B), of target, mask, labels, ``ignore_index`` and dtype.
        bands: sums of the three terms, (3,B), of the maps, normalisers and options; with scales (3,B) and a map,
            also writes the gradient of the sums times the scales into the map.
    """

    normalisers: Callable[..., Tensor]
    counts: Callable[..., Tensor]
    bands: Callable[..., Tensor]

    def forward(
        self, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, max_depth: float | None,
        options: Options,
    ) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
        """Sums and counts of the three terms, (3,B) each, and normalisers, (B,)."""
        norm = self.normalisers(pred, target, mask, max_depth)
        counts = self.counts(target, mask, labels, options[-1], norm.dtype)
        return self.bands(pred, target, mask, labels, norm, options, None, None), counts, norm

    def forward_with_gradient(
        self, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, max_depth: float | None,
        options: Options, weights: Tensor, means: Sequence[bool], per_image: bool,
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
        """As :meth:`forward`, and the gradient of the weighted total, or of the total of every image."""
        norm = self.normalisers(pred, target, mask, max_depth)
        counts = self.counts(target, mask, labels, options[-1], norm.dtype)
        gradient = pred.new_empty(pred.shape)
        scales = (weights[:, None] / denominators(counts, means, per_image)).expand_as(counts)
        return self.bands(pred, target, mask, labels, norm, options, scales, gradient), counts, norm, gradient

    def backward(
        self, scales: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, labels: Tensor | None, norm: Tensor,
        options: Options,
    ) -> Tensor:  # fmt: skip
        """The gradient of the sums times ``scales``, (3,B)."""
        gradient = pred.new_empty(pred.shape)
        self.bands(pred, target, mask, labels, norm, options, scales, gradient)
        return gradient
