"""What a predictor reaches that never looks at the image. One process measures it for all."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from depthattn import metrics
from depthattn.data import Sample


@dataclass(frozen=True)
class TrainingStatistics:
    """What is known of the training set: the depth that fits it best, and its pixels per class."""

    depth: float
    class_counts: Tensor
    frames: int


@dataclass(frozen=True)
class Baselines:
    """Scores on the validation set of predictors fitted to the training set alone; NaN without ground truth."""

    depth: float
    rmse: float
    miou: float


def training_statistics(batches: Iterable[Sample], num_classes: int, max_depth: float) -> TrainingStatistics:
    """Fit the constant depth and count the classes."""
    constant = metrics.ConstantDepthBaseline(max_depth=max_depth, sync_on_compute=False)
    counts = torch.zeros(num_classes, dtype=torch.int64)
    frames = 0
    for batch in batches:
        constant.update(batch["depth"])
        counts += count_classes(batch["labels"], num_classes)
        frames += len(batch["image"])
    fitted = float(constant.compute()) if constant.count > 0 else float("nan")
    return TrainingStatistics(fitted, counts, frames)


def baselines(statistics: TrainingStatistics, batches: Iterable[Sample], max_depth: float) -> Baselines:
    """Score the constant depth, and labels drawn at the training frequencies."""
    scores = metrics.DepthMetrics(max_depth=max_depth, sync_on_compute=False)
    num_classes = len(statistics.class_counts)
    counts = torch.zeros(num_classes, dtype=torch.int64)
    for batch in batches:
        scores.update(torch.full_like(batch["depth"], statistics.depth), batch["depth"])
        counts += count_classes(batch["labels"], num_classes)
    rmse = float(scores.compute()["rmse"]) if scores.count > 0 else float("nan")
    return Baselines(statistics.depth, rmse, chance_miou(counts, statistics.class_counts))


def count_classes(labels: Tensor, num_classes: int) -> Tensor:
    """Pixels of each class, (K,); all other labels are left out."""
    named = labels[(labels >= 0) & (labels < num_classes)]
    return torch.bincount(named, minlength=num_classes)


def chance_miou(truth: Tensor, drawn: Tensor) -> float:
    r"""Expected mIoU of labels drawn independently of the image, with the frequencies of ``drawn``.

    With the share :math:`t_k` of class k in ground truth and :math:`q_k` in what is drawn, the intersection is
    :math:`t_k q_k` of all pixels and the union :math:`t_k + q_k - t_k q_k`; the mean is over the classes in either.

    Args:
        truth: true pixels of each class, (K,).
        drawn: pixels of each class that give the frequencies, (K,).
    """
    if truth.sum() == 0 or drawn.sum() == 0:
        return float("nan")
    t, q = truth.double() / truth.sum(), drawn.double() / drawn.sum()
    present = (t + q) > 0
    return float(((t * q)[present] / (t + q - t * q)[present]).mean())
