"""What a trained network is scored by."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn import metrics

# A difference of neighbours above both is an edge: of things, not of a floor that recedes, nor of the sensor's steps.
_EDGE_METRES = 0.25
_EDGE_SHARE = 0.15


class EdgeSharpness:
    r"""How much of the true depth edges a prediction makes.

    Two pixels beside or above one another, both with a true depth g, are an edge where
    :math:`|g_p - g_q| > 0.25` m and more than 15 % of the nearer one. Over all edges of all frames, for the prediction
    d:

    .. math::
        \frac{\sum \operatorname{sign}(g_p - g_q) (d_p - d_q)}{\sum |g_p - g_q|}

    1 is the ground truth's own sharpness, 0 a prediction without any step between these pixels, and a step in the wrong
    direction counts against it. A smooth ramp over n pixels in the place of an edge earns 1/n. NaN without an edge.
    """

    def __init__(self) -> None:
        self._made = self._true = 0.0

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch: predicted and true depth (B,1,H,W), metres; 0 in ``target`` where it is missing."""
        pred, target = pred.float(), target.float()
        for axis in (-1, -2):
            first, second = (_shifted(target, axis, start) for start in (0, 1))
            step = second - first
            nearer = torch.minimum(first, second)
            edge = (nearer > 0) & (step.abs() > _EDGE_METRES) & (step.abs() > _EDGE_SHARE * nearer)
            made = _shifted(pred, axis, 1) - _shifted(pred, axis, 0)
            self._made += float(torch.where(edge, step.sign() * made, 0.0).sum())
            self._true += float(torch.where(edge, step.abs(), 0.0).sum())

    def compute(self) -> float:
        return self._made / self._true if self._true else float("nan")


def rarest_classes(counts: Tensor, share: float) -> list[int]:
    """The classes that make up the rarest ``share`` of the pixels that ``counts`` (K,) has: from the rarest on, as many
    as together stay within it, and at least one. A class that does not occur is none of them."""
    order = [number for number in counts.argsort(stable=True).tolist() if counts[number] > 0]
    total = counts[order].cumsum(0) / counts.sum()
    return order[: max(1, int((total <= share).sum()))]


class Scores:
    """All scores of a trial, of its validation frames.

    Args:
        num_classes: number of classes.
        rare: the rare classes.
        thirds: depths, metres, that part the training pixels into three equal shares.
        max_depth: largest true depth that counts, metres.
        device: of the predictions.
    """

    def __init__(
        self, num_classes: int, rare: list[int], thirds: tuple[float, float], max_depth: float, device: torch.device
    ) -> None:
        self._depth = metrics.DepthMetrics(max_depth=max_depth, pooling="pixels").to(device)
        self._metres = metrics.DepthBinnedMetrics(torch.linspace(0.0, max_depth, 4)).to(device)
        self._shares = metrics.DepthBinnedMetrics((0.0, *thirds, max_depth)).to(device)
        self._boundaries = metrics.BoundaryF1().to(device)
        self._edges = EdgeSharpness()
        self._labels = metrics.SegmentationMetrics(num_classes).to(device)
        self._rare = rare

    def update(self, depth: Tensor, logits: Tensor, target: Tensor, labels: Tensor) -> None:
        for metric in (self._depth, self._metres, self._shares, self._boundaries, self._edges):
            metric.update(depth, target)
        self._labels.update(logits, labels)

    def depth(self) -> dict[str, float]:
        """What is said of depth."""
        depth, metres, shares = self._depth.compute(), self._metres.compute(), self._shares.compute()
        return {
            **{name: float(depth[name]) for name in ("abs_rel", "rmse", "delta1")},
            "rmse_near_third": float(shares["rmse"][0]),
            "rmse_far_third": float(shares["rmse"][-1]),
            "bias_far_third": float(shares["bias"][-1]),
            "rmse_far_metres": float(metres["rmse"][-1]),
            "boundary_f1": float(self._boundaries.compute()),
            "edge_sharpness": self._edges.compute(),
        }

    def labels(self) -> dict[str, float]:
        """What is said of labels."""
        labels = self._labels.compute()
        return {
            "pixel_accuracy": float(labels["pixel_accuracy"]),
            "miou": float(labels["miou"]),
            "rare_iou": float(labels["iou"][self._rare].nanmean()),
        }


def _shifted(x: Tensor, axis: int, start: int) -> Tensor:
    return x.narrow(axis, start, x.shape[axis] - 1)
