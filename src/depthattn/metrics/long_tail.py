"""Depth scores by range of true depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from depthattn.metrics.base import ScoreMetric
from depthattn.metrics.errors import (
    SUMMED,
    count_in_groups,
    error_terms,
    exact_term_sums,
    means_of_sums,
    scored_maps,
    scores_of,
)
from depthattn.metrics.exact import BINS

DEFAULT_EDGES = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0)

# Logarithms need a prediction above zero; DepthMetrics starts here too.
_SMALLEST = 1e-3


class DepthBinnedMetrics(ScoreMetric):
    r"""The scores of :class:`DepthMetrics` for each range of true depth.

    The number of pixels falls steeply with depth, so a mean over all pixels says little about far ones. Here each bin
    has scores of its own, with per-pixel averaging. Bin i holds the valid pixels with
    :math:`t_i \le g < t_{i+1}`, the last one also those at its upper end. The prediction is clamped to the whole range
    [max(edges[0], 0.001), edges[-1]], as in :class:`DepthMetrics` with this range.

    Args:
        edges: the ends :math:`t_0 < t_1 < ...` of the bins, metres, at least three, the first >= 0; by default
            every metre from 0 to 10. ``torch.linspace(0, 10, 4)`` gives thirds.
        **kwargs: options of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the edges or the shapes do not fit.
        TypeError: if an edge is not a number, a map is not floating point, or the mask not bool.

    Example:
        >>> import torch
        >>> from depthattn.metrics import DepthBinnedMetrics
        >>> metrics = DepthBinnedMetrics(edges=(0.0, 2.0, 4.0, 8.0))
        >>> target = torch.tensor([[1.0, 8.0, 6.0, 0.0]])
        >>> metrics.update(torch.tensor([[1.5, 4.0, 5.0, 3.0]]), target)
        >>> scores = metrics.compute()
        >>> scores["pixels"].tolist(), scores["bias"].tolist()
        ([1, 0, 2], [0.5, nan, -2.5])
    """

    higher_is_better = None

    sums: Tensor
    pixels: Tensor

    def __init__(self, edges: Sequence[float] | Tensor = DEFAULT_EDGES, **kwargs: Any) -> None:
        ends = _checked_edges(edges)
        super().__init__(ends, **kwargs)
        self.edges = ends
        bins = len(ends) - 1
        self.add_state("sums", torch.zeros(bins, len(SUMMED), BINS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("pixels", torch.zeros(bins, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            pred: predicted depth (B,1,H,W), (B,H,W) or (H,W), metres.
            target: true depth of the same size, metres; 0 where missing.
            mask: bool, True = use; None = all.
        """
        low, high = max(self.edges[0], _SMALLEST), self.edges[-1]
        pred, target, valid = scored_maps("DepthBinnedMetrics", pred, target, mask, self.edges[0], high)
        inner = torch.tensor(self.edges[1:-1], dtype=target.dtype, device=target.device)
        bins = torch.bucketize(target, inner, right=True)
        terms = error_terms(pred, target, valid, low, high)
        self.sums += exact_term_sums(terms, bins, len(self.pixels))
        self.pixels += count_in_groups(valid, bins, len(self.pixels))

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores of everything seen.

        Returns:
            A tensor (bins,) for each name of :class:`DepthMetrics`, float32; also ``bias``, the mean of :math:`d - g`
            in metres, negative where pixels are predicted too near; and ``pixels``, int64, the number of valid pixels.
            Scores of a bin without a valid pixel are NaN.
        """
        means = means_of_sums(self.sums, self.pixels)
        return {**scores_of(means), "bias": means["error"], "pixels": self.pixels.clone()}


def _checked_edges(edges: Sequence[float] | Tensor) -> tuple[float, ...]:
    name = "DepthBinnedMetrics"
    try:
        values = tuple(float(edge) for edge in edges)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name}: expected edges as a sequence of numbers, got {edges!r}") from error
    rising = all(low < high for low, high in pairwise(values))
    if len(values) < 3 or not rising or values[0] < 0 or not math.isfinite(values[-1]):
        got = ", ".join(f"{value:g}" for value in values)
        raise ValueError(f"{name}: expected at least three finite edges, rising from >= 0, got ({got})")
    return values
