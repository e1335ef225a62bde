"""What each of two processes does: score its own, uneven share of the frames and reduce over both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tests.gloo import group_of_two
from torch import Tensor

from depthattn.metrics import (
    BoundaryF1,
    ConstantDepthBaseline,
    DepthBinnedMetrics,
    DepthMetrics,
    SegmentationMetrics,
)

CLASSES, EDGES = 5, (0.5, 3.0, 6.5, 10.0)
SHARES = ((0, 3), (3, 4))  # the fourth frame alone, which has no truth, goes to the second process


def frames() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    depth = 12 * torch.rand(4, 9, 11, generator=generator)
    pred = depth * (0.6 + torch.rand(depth.shape, generator=generator))
    labels, classes = torch.randint(0, CLASSES, (2, *depth.shape), generator=generator).unbind()
    hole = torch.rand(depth.shape, generator=generator) < 0.3
    depth[hole], labels[hole] = 0.0, -100
    depth[3], labels[3] = 0.0, -100
    return pred, depth, classes, labels


def scores_of(share: slice) -> dict[str, Any]:
    pred, depth, classes, labels = (x[share] for x in frames())
    metrics = {
        "pixels": DepthMetrics(pooling="pixels"),
        "images": DepthMetrics(pooling="images"),
        "boundaries": BoundaryF1(),
        "binned": DepthBinnedMetrics(EDGES),
        "constant": ConstantDepthBaseline(),
        "labels": SegmentationMetrics(CLASSES),
    }
    for index in range(len(depth)):
        for name in ("pixels", "images", "boundaries", "binned"):
            metrics[name].update(pred[index : index + 1], depth[index : index + 1])
        metrics["constant"].update(depth[index : index + 1])
        metrics["labels"].update(classes[index : index + 1], labels[index : index + 1])
    return {name: metric.compute() for name, metric in metrics.items()}


def score_share(rank: int, folder: str) -> None:
    """Run in process ``rank``: leaves what it computed in a file."""
    with group_of_two(rank, folder):
        torch.save(scores_of(slice(*SHARES[rank])), Path(folder, f"{rank}.pt"))
