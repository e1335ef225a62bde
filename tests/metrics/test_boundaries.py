"""Boundary F1 against loops over thresholds and directions in NumPy, with holes and empty frames."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.metrics.oracle import boundary_f1
from torch import Tensor

from depthattn.metrics import BoundaryF1


def frames(count: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Rectangles before one another, predicted with noise and a shift; holes of every kind, the third frame empty."""
    rng = np.random.default_rng(seed)
    target = np.full((count, 20, 24), 8.0, dtype=np.float32)
    for image in target:
        for depth in (5.0, 4.3, 4.0, 2.0, 1.0):
            top, left = rng.integers(0, 14), rng.integers(0, 18)
            image[top : top + 7, left : left + 9] = depth
    pred = 1.7 * target * rng.lognormal(0, 0.03, target.shape).astype(np.float32)
    pred[1] = np.roll(pred[1], 1, axis=0)
    kind = rng.integers(0, 20, target.shape)
    for index, hole in enumerate((0.0, -1.0, np.nan, np.inf)):
        target[kind == index] = hole
    pred[kind == 0] = 0.0
    target[2] = 0.0
    return torch.from_numpy(pred), torch.from_numpy(target)


def test_against_numpy() -> None:
    pred, target = frames()
    metric = BoundaryF1()
    for part in (slice(0, 2), slice(2, 5)):
        metric.update(pred[part].unsqueeze(1), target[part])
    images = [boundary_f1(pred[index].numpy(), target[index].numpy()) for index in (0, 1, 3, 4)]
    assert len({round(value, 4) for value in images}) == 4
    assert 0.05 < min(images) < max(images) < 0.95
    assert float(metric.compute()) == pytest.approx(np.mean(images), rel=1e-6)


def test_a_perfect_prediction_in_any_unit() -> None:
    # Edges of every direction: the score of an image without one is less by a quarter.
    target = torch.tensor([[1.0, 2.0, 1.0], [2.0, 2.0, 2.0], [1.0, 2.0, 1.0]])
    metric = BoundaryF1()
    metric.update(0.003 * target, target)
    assert float(metric.compute()) == pytest.approx(1.0, abs=1e-6)


def test_thresholds_weigh_by_their_size() -> None:
    target = torch.tensor([[1.0, 1.13, 1.0], [1.13, 1.13, 1.13], [1.0, 1.13, 1.0]])
    thresholds = np.linspace(1.05, 1.25, 10)
    metric = BoundaryF1()
    metric.update(target, target)
    assert float(metric.compute()) == pytest.approx(thresholds[thresholds < 1.13].sum() / thresholds.sum(), rel=1e-6)


def test_a_flat_truth_scores_nothing_and_no_truth_is_no_image() -> None:
    metric = BoundaryF1()
    metric.update(torch.rand(1, 4, 4), torch.zeros(1, 4, 4))
    assert metric.compute().isnan()
    # Lone pixels have no neighbour.
    metric.update(torch.rand(1, 3, 3), torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 1.0]]]))
    assert int(metric.count) == 0
    metric.reset()
    metric.update(torch.rand(1, 4, 4), torch.ones(1, 4, 4))
    assert float(metric.compute()) == 0.0


def test_a_mask_takes_pixels_out() -> None:
    pred, target = frames()
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.8
    masked, holed = BoundaryF1(), BoundaryF1()
    masked.update(pred, target, mask)
    holed.update(pred, torch.where(mask, target, 0.0))
    assert torch.equal(masked.total, holed.total)


def test_a_prediction_that_is_not_a_number_has_no_edge() -> None:
    target = torch.tensor([[1.0, 2.0, 1.0], [2.0, 2.0, 2.0], [1.0, 2.0, 1.0]])
    metric = BoundaryF1()
    metric.update(torch.full_like(target, torch.nan), target)
    assert float(metric.compute()) == 0.0


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_the_smallest_pictures(size: tuple[int, int]) -> None:
    metric = BoundaryF1()
    metric.update(torch.rand(2, *size), 1 + torch.rand(2, *size))
    assert int(metric.count) == (0 if size == (1, 1) else 2)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="BoundaryF1: expected pred and target of one size"):
        BoundaryF1().update(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 5))
