"""Every protocol against NumPy: crops, depth ranges, alignments and both poolings, with holes and empty frames."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from depthattn.metrics import EIGEN_CROP, DepthMetrics, align_depth, crop_mask

CROPS = {"none": None, "inner": ((3, 11), (2, 15)), "edge": ((0, 12), (5, 17))}
NAMES = ("rel", "sq_rel", "log10", "rms", "rms_log", "silog", "delta1", "delta2", "delta3")


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


def image_scores(d: np.ndarray, g: np.ndarray, low: float, high: float) -> list[float]:
    d = np.clip(d, low, high)
    ratio, logs = np.maximum(d / g, g / d), np.log(d) - np.log(g)
    return [
        np.mean(np.abs(d - g) / g),
        np.mean((d - g) ** 2 / g),
        np.mean(np.abs(np.log10(d / g))),
        np.sqrt(np.mean((d - g) ** 2)),
        np.sqrt(np.mean(logs**2)),
        100 * np.std(logs),
        *(np.mean(ratio < 1.25**power) for power in (1, 2, 3)),
    ]


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
        return list(np.mean([image_scores(d, g, low, high) for d, g in kept], axis=0))
    return image_scores(*(np.concatenate(parts) for parts in zip(*kept, strict=True)), low, high)


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
        metrics.update(d, target[part].double() if alignment else target[part], use)
    scores = metrics.compute()
    expected = oracle(pred.numpy(), target.numpy(), CROPS[crop], low, high, alignment, pooling)
    assert list(scores) == list(NAMES)
    np.testing.assert_allclose([float(score) for score in scores.values()], expected, rtol=1e-9, atol=1e-12)


def test_images_without_truth_are_no_images() -> None:
    metrics = DepthMetrics(pooling="images")
    metrics.update(torch.full((3, 1, 2), 2.0), torch.tensor([[[1.0, 1.0]], [[0.0, 0.0]], [[4.0, 0.0]]]))
    assert float(metrics.compute()["rms"]) == (1.0 + 2.0) / 2
    nothing = DepthMetrics(pooling="images")
    nothing.update(torch.ones(2, 3, 3), torch.zeros(2, 3, 3))
    assert all(bool(score.isnan()) for score in nothing.compute().values())


def test_alignment_keeps_the_shape_the_input_and_empty_images() -> None:
    pred, target = frames()
    before = pred.clone()
    for method in ("median", "least_squares"):
        aligned = align_depth(pred.unsqueeze(1), target, method=method)
        assert aligned.shape == (5, 1, 12, 17)
        assert torch.equal(aligned[2, 0].nan_to_num(-9), pred[2].double().nan_to_num(-9))
    assert torch.equal(pred.nan_to_num(-9), before.nan_to_num(-9))


def test_a_constant_prediction_aligns_to_the_mean() -> None:
    aligned = align_depth(torch.full((1, 4), 7.0), torch.tensor([[1.0, 2.0, 6.0, 0.0]]), method="least_squares")
    assert aligned.tolist() == [[3.0, 3.0, 3.0, 3.0]]


def test_a_prediction_that_is_not_a_number_shows_after_alignment() -> None:
    pred, target = torch.tensor([[float("nan"), 1.0]]), torch.tensor([[1.0, 1.0]])
    for method in ("median", "least_squares"):
        assert align_depth(pred, target, method=method).isnan().all()


def test_crops() -> None:
    mask = crop_mask((480, 640))
    assert EIGEN_CROP == ((45, 471), (41, 601))
    assert mask.nonzero().amin(0).tolist() == [45, 41]
    assert mask.nonzero().amax(0).tolist() == [470, 600]
    with pytest.raises(ValueError, match="crop_mask: expected a crop inside 240x320 pixels, got rows 45:471, columns"):
        crop_mask((240, 320))
    with pytest.raises(ValueError, match="crop_mask: expected a crop inside"):
        crop_mask((480, 640), ((30, 30), (0, 640)))


def test_options_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="DepthMetrics: expected pooling as one of pixels, images, got 'mean'"):
        DepthMetrics(pooling="mean")
    with pytest.raises(ValueError, match="align_depth: expected method as one of median, least_squares, got 'mean'"):
        align_depth(torch.ones(2, 2), torch.ones(2, 2), method="mean")
    with pytest.raises(ValueError, match="align_depth: expected pred and target of one size"):
        align_depth(torch.ones(2, 2), torch.ones(2, 3))
