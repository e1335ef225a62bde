"""How well a prediction finds the depth discontinuities of the ground truth."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from depthattn.metrics.base import ScoreMetric
from depthattn.metrics.exact import BINS, exact_sums, means, to_float32
from depthattn.ops import checks
from depthattn.ops.masking import compute_dtype, valid_depth

# From 5 % to 25 %, as Depth Pro's evaluation takes them.
THRESHOLDS = tuple(1.05 + 0.2 * step / 9 for step in range(10))

_SMALLEST = 1e-6


class BoundaryF1(ScoreMetric):
    r"""Boundary F1: how well depth discontinuities between neighbouring pixels match those of the ground truth.

    Two neighbouring pixels, side by side or one above the other, have an edge in either direction, which gives four
    directions. In each, with the threshold t, the ground truth has an edge where :math:`g_i / g_j > t`, and the
    prediction where :math:`d_i / d_j > t`. Precision P is the share of the predicted edges that are true, and recall R
    the share of the true edges that are predicted (0 where there are none), each the mean over the four directions;
    :math:`F_1 = 2 P R / (P + R)`, 0 where both are 0. The score of an image is the mean of :math:`F_1` over ten
    thresholds from 1.05 to 1.25, weighted by the threshold; that of a set is the mean over its images.

    The score does not depend on the unit of the prediction. An edge must be at the exact pixel, so blurred or misplaced
    contours score lower. A pair is valid if both pixels have a true depth. An image without a valid pair is left out;
    one without a true edge scores 0, as in the evaluation of Depth Pro.

    Args:
        **kwargs: options of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the shapes do not fit.
        TypeError: if a map is not floating point or the mask not bool.

    Source:
        Bochkovskii et al., "Depth Pro: Sharp Monocular Metric Depth in Less Than a Second", ICLR 2025, section 4.

    Example:
        >>> import torch
        >>> from depthattn.metrics import BoundaryF1
        >>> metric = BoundaryF1()
        >>> truth = torch.tensor([[1.0, 1.0, 2.0, 2.0], [1.0, 1.0, 2.0, 2.0]])
        >>> metric.update(3 * truth, truth)
        >>> metric.compute()  # of four directions, three have no edge
        tensor(0.2500)
    """

    higher_is_better = True

    total: Tensor
    count: Tensor

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.add_state("total", torch.zeros(1, BINS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            pred: predicted depth (B,1,H,W), (B,H,W) or (H,W), of any unit.
            target: true depth of the same size; 0 where missing.
            mask: bool, True = use; None = all.
        """
        pred, target = checks.detached("BoundaryF1", "pred", pred), checks.detached("BoundaryF1", "target", target)
        pred, target, mask = checks.depth_maps("BoundaryF1", pred, target, mask)
        dtype = compute_dtype(pred, target)
        valid = valid_depth(target, mask)
        d, g = pred.to(dtype).clamp(min=_SMALLEST), torch.where(valid, target.to(dtype), 1.0)
        directions = list(_directions(d, g, valid))
        seen = torch.stack([pair.flatten(1).any(1) for _, _, pair in directions]).any(0)
        score = torch.zeros(len(d), dtype=dtype, device=d.device)
        for threshold in THRESHOLDS:
            score += threshold / sum(THRESHOLDS) * _f1(directions, threshold)
        self.total += exact_sums(torch.where(seen, score, 0.0))
        self.count += seen.sum()

    def compute(self) -> Tensor:
        """Compute the score of everything seen.

        Returns:
            The score in [0, 1], a float32 scalar; NaN if no pair was valid. A prediction that is NaN has no edge there.
        """
        return to_float32(means(self.total, self.count), self.total.device)[0]


def _directions(d: Tensor, g: Tensor, valid: Tensor) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Ratios of neighbours in prediction and ground truth, and whether the pair counts: right, left, down, up."""
    for axis in (2, 1):
        first, second = (tuple(x.narrow(axis, start, x.shape[axis] - 1) for x in (d, g, valid)) for start in (0, 1))
        pair = first[2] & second[2]
        yield first[0] / second[0], first[1] / second[1], pair
        yield second[0] / first[0], second[1] / first[1], pair


def _f1(directions: list[tuple[Tensor, Tensor, Tensor]], threshold: float) -> Tensor:
    precision, recall = [], []
    for predicted, true, pair in directions:
        edge, true_edge = (predicted > threshold) & pair, (true > threshold) & pair
        found, claimed, there = (x.flatten(1).sum(1).to(true) for x in (edge & true_edge, edge, true_edge))
        precision.append(found / claimed.clamp(min=1))
        recall.append(found / there.clamp(min=1))
    p, r = (torch.stack(parts).mean(0) for parts in (precision, recall))
    return torch.where(p + r > 0, 2 * p * r / (p + r), 0.0)
