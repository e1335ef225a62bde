"""Every protocol against NumPy: crops, depth ranges, alignments and both poolings, with holes and empty frames."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from tests.metrics.oracle import NAMES, scores
from torch import Tensor

from depthattn.metrics import DepthMetrics, align_depth, crop_mask

CROPS = {"none": None, "inner": ((3, 11), (2, 15)), "edge": ((0, 12), (5, 17))}


def frames(count: int = 5, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Truth with holes of every kind, the third frame empty; predictions off by scale, shift and noise."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.3, 12.0, (count, 12, 17)).astype(np.float32)
    pred = (0.4 * target * rng.lognormal(0, 0.2, target.shape) + 0.5).astype(np.float32)
    kind = rng.integers(0, 10, target.shape)
    for index, hole in enumerate((0.0, -1.0, np.nan, np.inf)):
        target[kind == index] = hole
    pred[kind == 1] = np.nan
    target[2] = 0.0
    return torch.from_numpy(pred), torch.from_numpy(target)


def oracle(
    pred: np.ndarray, target: np.ndarray, crop: Any, low: float, high: float, alignment: str | None, pooling: str
) -> list[float]:
    """Frame by frame on lists of numbers; least squares by numpy.linalg.lstsq."""
    rows, columns = (slice(None), slice(None)) if crop is None else (slice(*crop[0]), slice(*crop[1]))
    kept = []
    for p, t in zip(pred.astype(np.float64), target.astype(np.float64), strict=True):
        p, t = p[rows, columns], t[rows, columns]
        keep = np.isfinite(t) & (t >= low) & (t <= high)
        if not keep.any():
            continue
        d, g = p[keep], t[keep]
        if alignment == "median":
            d = d * np.median(g) / np.median(d)
        elif alignment == "least_squares":
            scale, shift = np.linalg.lstsq(np.stack([d, np.ones_like(d)], 1), g, rcond=None)[0]
            d = scale * d + shift
        kept.append((d, g))
    if pooling == "images":
        return list(np.mean([list(scores(d, g, low, high).values()) for d, g in kept], axis=0))
    return list(scores(*(np.concatenate(parts) for parts in zip(*kept, strict=True)), low, high).values())


@pytest.mark.parametrize(
    ("crop", "depths", "alignment", "pooling"),
    list(product(CROPS, [(1e-3, 10.0), (0.5, 5.0)], [None, "median", "least_squares"], ["pixels", "images"])),
)
def test_every_protocol(crop: str, depths: tuple[float, float], alignment: str | None, pooling: str) -> None:
    pred, target = frames()
    mask = torch.ones(12, 17, dtype=torch.bool) if CROPS[crop] is None else crop_mask((12, 17), CROPS[crop])
    low, high = depths
    metrics = DepthMetrics(low, high, pooling=pooling)
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        use = mask.expand_as(target[part])
        d = pred[part]
        if alignment is not None:
            d = align_depth(d, target[part], use, method=alignment, min_depth=low, max_depth=high)
        metrics.update(d, target[part], use)
    found = metrics.compute()
    expected = oracle(pred.numpy(), target.numpy(), CROPS[crop], low, high, alignment, pooling)
    assert tuple(found) == NAMES
    np.testing.assert_allclose([float(score) for score in found.values()], expected, rtol=1e-5, atol=1e-7)


def test_images_without_truth_are_no_images() -> None:
    metrics = DepthMetrics(pooling="images")
    metrics.update(torch.full((3, 1, 2), 2.0), torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]], [[4.0, 0.0]]]))
    assert float(metrics.compute()["rmse"]) == (1.0 + 2.0) / 2
    nothing = DepthMetrics(pooling="images")
    nothing.update(torch.ones(2, 3, 3), torch.zeros(2, 3, 3))
    assert all(bool(score.isnan()) for score in nothing.compute().values())


def test_options_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="DepthMetrics: expected pooling as one of images, pixels, got 'mean'"):
        DepthMetrics(pooling="mean")
