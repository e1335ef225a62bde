"""Depth scores per range of depth against NumPy, bin by bin."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from tests.metrics.oracle import NAMES, scores
from torch import Tensor

from depthattn.metrics import DepthBinnedMetrics, DepthMetrics

THIRDS = (0.5, 3.0, 6.5, 10.0)


def oracle(pred: np.ndarray, target: np.ndarray, edges: tuple[float, ...], mask: np.ndarray | None = None) -> Any:
    """The formulas on the list of pixels of each bin."""
    rows, pixels = [], []
    last = len(edges) - 2
    low, high = max(edges[0], 1e-3), edges[-1]
    for index, (start, end) in enumerate(pairwise(edges)):
        with np.errstate(invalid="ignore"):
            keep = (target > 0) & (target >= start) & ((target < end) | ((index == last) & (target == end)))
        if mask is not None:
            keep &= mask
        pixels.append(int(keep.sum()))
        if not keep.any():
            rows.append(dict.fromkeys((*NAMES, "bias"), np.nan))
            continue
        g = target[keep].astype(np.float64)
        d = np.clip(pred[keep].astype(np.float64), low, high)
        rows.append({**scores(d, g, low, high), "bias": np.mean(d - g)})
    return {name: np.array([row[name] for row in rows]) for name in (*NAMES, "bias")}, pixels


def frames(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Depth with holes of every kind, and on the very edges; nonsense predicted inside holes."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.3, 11.0, (count, 1, 12, 17)).astype(np.float32)
    pred = (target * rng.lognormal(-0.1, 0.4, target.shape)).astype(np.float32)
    kind = rng.integers(0, 14, target.shape)
    for index, hole in enumerate((0.0, -1.0, np.nan, np.inf)):
        target[kind == index] = hole
    for index, edge in enumerate((0.5, 3.0, 6.5, 10.0)):
        target[kind == 4 + index] = edge
    pred[kind <= 1] = np.nan
    pred[kind == 2] = np.inf
    pred[kind == 8] = -0.5
    return torch.from_numpy(pred), torch.from_numpy(target)


def check(found: dict[str, Tensor], expected: dict[str, np.ndarray], pixels: list[int]) -> None:
    assert tuple(found) == (*NAMES, "bias", "pixels")
    assert found["pixels"].tolist() == pixels
    assert found["pixels"].dtype == torch.int64
    for name, values in expected.items():
        assert found[name].dtype == torch.float32
        np.testing.assert_allclose(found[name].numpy(), values, rtol=3e-6, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("edges", [THIRDS, (0.0, 1.0, 2.5, 80.0), (0.25, 1.0, 4.0), (0.0, 0.1, 0.2, 3.0)])
def test_batches_of_unequal_size_and_an_empty_frame(edges: tuple[float, ...]) -> None:
    pred, target = frames(6)
    target[2] = 0.0
    metrics = DepthBinnedMetrics(edges)
    for part in (slice(0, 1), slice(1, 3), slice(3, 6)):
        metrics.update(pred[part], target[part])
    check(metrics.compute(), *oracle(pred.numpy(), target.numpy(), edges))


def test_mask_and_layouts() -> None:
    pred, target = frames(1, seed=1)
    mask = torch.rand(target.shape) < 0.5
    expected = oracle(pred.numpy(), target.numpy(), THIRDS, mask.numpy())
    for p, t, m in ((pred, target, mask), (pred[0], target, mask[:, 0]), (pred[0, 0], target[0, 0], mask[0, 0])):
        metrics = DepthBinnedMetrics(THIRDS)
        metrics.update(p, t, m)
        check(metrics.compute(), *expected)


def test_edges_belong_to_the_bin_above_and_the_last_one_counts() -> None:
    metrics = DepthBinnedMetrics((1.0, 2.0, 4.0))
    metrics.update(torch.full((1, 6), 3.0), torch.tensor([[0.999, 1.0, 2.0, 3.0, 4.0, 4.001]]))
    assert metrics.compute()["pixels"].tolist() == [1, 3]
    assert metrics.compute()["bias"].tolist() == [2.0, 0.0]


def test_bins_pool_to_the_score_of_all() -> None:
    pred, target = frames(4, seed=2)
    binned, pooled = DepthBinnedMetrics(THIRDS), DepthMetrics(0.5, 10.0, pooling="pixels")
    for metrics in (binned, pooled):
        metrics.update(pred, target)
    assert torch.equal(binned.sums.sum(0), pooled.sums)
    found, expected = binned.compute(), pooled.compute()
    share = found["pixels"] / found["pixels"].sum()
    for name in ("abs_rel", "sq_rel", "log10", "mae", "delta05", "delta1", "delta2", "delta3"):
        assert float((share * found[name]).sum()) == pytest.approx(float(expected[name]), rel=1e-6)
    for name in ("rmse", "rmse_log", "irmse"):
        assert float((share * found[name] ** 2).sum().sqrt()) == pytest.approx(float(expected[name]), rel=1e-6)


def test_default_edges_and_thirds_as_a_tensor() -> None:
    assert DepthBinnedMetrics().edges == tuple(float(metre) for metre in range(11))
    assert DepthBinnedMetrics(torch.linspace(0, 9, 4)).edges == (0.0, 3.0, 6.0, 9.0)
    assert DepthBinnedMetrics(np.array([1, 2, 4])).edges == (1.0, 2.0, 4.0)


def test_a_prediction_that_is_not_a_number_shows_in_its_bin_only() -> None:
    metrics = DepthBinnedMetrics((0.0, 2.0, 4.0))
    metrics.update(torch.tensor([[float("nan"), 1.0]]), torch.tensor([[3.0, 1.0]]))
    assert np.array_equal(metrics.compute()["rmse"].numpy(), [0.0, np.nan], equal_nan=True)


def test_as_a_torchmetrics_metric() -> None:
    pred, target = frames(3, seed=3)
    metrics = DepthBinnedMetrics(THIRDS)
    expected = oracle(pred.numpy(), target.numpy(), THIRDS)
    check(metrics(pred, target), *expected)
    for other in (copy.deepcopy(metrics), pickle.loads(pickle.dumps(metrics))):
        check(other.compute(), *expected)
    metrics.reset()
    assert metrics.pixels.tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("edges", "error", "reason"),
    [
        ((1.0, 2.0), ValueError, r"expected at least three finite edges, rising from >= 0, got \(1, 2\)"),
        ((1.0, 1.0, 2.0), ValueError, r"got \(1, 1, 2\)"),
        ((-1.0, 1.0, 2.0), ValueError, r"got \(-1, 1, 2\)"),
        ((1.0, 2.0, float("inf")), ValueError, r"got \(1, 2, inf\)"),
        ((float("nan"), 1.0, 2.0), ValueError, r"got \(nan, 1, 2\)"),
        (3, TypeError, "expected edges as a sequence of numbers, got 3"),
        (("near", "far"), TypeError, "expected edges as a sequence of numbers"),
    ],
)
def test_edges_that_do_not_fit(edges: Any, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=f"DepthBinnedMetrics: .*{reason}"):
        DepthBinnedMetrics(edges)


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="DepthBinnedMetrics: expected pred and target of one size"):
        DepthBinnedMetrics().update(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 5))
