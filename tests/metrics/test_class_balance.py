"""Class weights against their published formulas in NumPy, and scikit-learn's "balanced" by hand."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch

import depthattn
from depthattn import SemanticFocalLoss
from depthattn.metrics import class_weights


def long_tail(num_classes: int = 13, seed: int = 0) -> np.ndarray:
    """Pixels per class over five orders of magnitude, two classes absent."""
    counts = np.round(10 ** np.random.default_rng(seed).uniform(1, 6, num_classes)).astype(np.int64)
    counts[[3, 7]] = 0
    return counts


def oracle(counts: np.ndarray, method: str, beta: float | None = None) -> np.ndarray:
    present = [float(count) for count in counts if count > 0]
    if beta is None:
        beta = 1 - 1 / np.mean(present)
    weights = []
    for count in counts:
        if count == 0:
            weights.append(0.0)
        elif method == "median_frequency":
            weights.append(np.median(present) / count)
        elif method == "inverse":
            weights.append(sum(present) / (len(present) * count))
        else:
            weights.append((1 - beta) / (1 - beta**count))
    result = np.array(weights)
    return result * len(present) / result.sum() if method == "effective_number" else result


@pytest.mark.parametrize(
    ("method", "beta"),
    [("median_frequency", None), ("inverse", None)]
    + [("effective_number", beta) for beta in (None, 0.0, 0.9, 0.9999, 1 - 1e-6)],
)
@pytest.mark.parametrize("classes", [12, 13])
def test_formulas(method: str, beta: float | None, classes: int) -> None:
    counts = long_tail(classes)
    given = torch.from_numpy(counts)
    weights = class_weights(given, method, beta=beta)
    assert weights.dtype == torch.float32
    np.testing.assert_allclose(weights.numpy(), oracle(counts, method, beta), rtol=2e-6)
    assert weights[counts == 0].eq(0).all()
    assert np.array_equal(given.numpy(), counts)


def test_each_is_normalised_as_stated() -> None:
    counts = torch.from_numpy(long_tail())
    share, present = counts / counts.sum(), counts > 0
    assert float(class_weights(counts)[counts == counts[present].median()]) == 1.0  # an odd number occur
    assert float((share * class_weights(counts, "inverse")).sum()) == pytest.approx(1.0, rel=1e-5)
    assert float(class_weights(counts, "effective_number")[present].mean()) == pytest.approx(1.0, rel=1e-6)


def test_effective_number_of_pixels_still_tells_rare_from_common() -> None:
    counts = torch.tensor([50_000_000, 4_000_000, 30_000, 1_000])
    usual = class_weights(counts, "effective_number", beta=0.9999)
    default = class_weights(counts, "effective_number")
    assert float(usual[1] / usual[0]) == pytest.approx(1.0, rel=1e-6)
    # Far below the mean count a class weighs by its inverse; far above it no less than the mean does.
    assert float(default[3] / default[2]) == pytest.approx(30.0, rel=2e-3)
    assert 1.0 < float(default[1] / default[0]) < 50.0 / 4.0


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32, torch.float32, torch.float64])
def test_dtypes_and_shares(dtype: torch.dtype) -> None:
    counts = torch.tensor([200, 50, 0, 10]).to(dtype)
    assert class_weights(counts).tolist() == [0.25, 1.0, 0.0, 5.0]
    if dtype.is_floating_point:
        assert class_weights(counts / 1000).tolist() == pytest.approx([0.25, 1.0, 0.0, 5.0])


def test_one_class_alone() -> None:
    for method in ("median_frequency", "inverse", "effective_number"):
        assert class_weights(torch.tensor([0, 7]), method).tolist() == [0.0, 1.0]
    assert class_weights(torch.tensor([1, 1]), "effective_number").tolist() == [1.0, 1.0]


def test_fits_the_focal_loss() -> None:
    loss = SemanticFocalLoss(class_weights(torch.tensor([300, 100, 0])), gamma=0.0)
    value = loss(torch.zeros(1, 3, 1, 3), torch.tensor([[[0, 1, 2]]]))
    assert float(value) == pytest.approx((200 / 300 + 200 / 100 + 0) * np.log(3) / 3)


@pytest.mark.parametrize(
    ("counts", "options", "error", "reason"),
    [
        (torch.tensor([1, -2]), {}, ValueError, "expected finite counts >= 0, got -2"),
        (torch.tensor([1.0, float("nan")]), {}, ValueError, "expected finite counts >= 0, got nan"),
        (torch.tensor([1.0, float("inf")]), {}, ValueError, "expected finite counts >= 0, got inf"),
        (torch.zeros(3), {}, ValueError, "expected a class that occurs"),
        (torch.ones(2, 2), {}, ValueError, r"expected counts of shape \(K,\) with K >= 1, got \(2, 2\)"),
        (torch.ones(0), {}, ValueError, r"expected counts of shape \(K,\) with K >= 1, got \(0,\)"),
        ([1, 2], {}, TypeError, "expected counts as a torch.Tensor, got list"),
        (torch.ones(2).bool(), {}, TypeError, "expected counts as integers or floating point, got torch.bool"),
        (torch.ones(2), {"method": "median"}, ValueError, "expected method as one of median_frequency, inverse"),
        (torch.ones(2), {"beta": 0.9}, ValueError, "expected beta with method 'effective_number' only"),
        (torch.ones(2), {"method": "effective_number", "beta": 1.0}, ValueError, "expected beta below 1, got 1"),
        (torch.ones(2), {"method": "effective_number", "beta": -0.1}, ValueError, "expected a finite beta >= 0"),
        (torch.tensor([0.9, 0.1]), {"method": "effective_number"}, ValueError, "expected counts, not shares"),
    ],
)
def test_what_does_not_fit(counts: torch.Tensor, options: dict, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=f"class_weights: {reason}"):
        class_weights(counts, **options)


def test_needs_no_torchmetrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depthattn, "metrics", depthattn.metrics)  # to have it back, as an import replaces it
    for name in [name for name in sys.modules if name.startswith("depthattn.metrics")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    fresh = importlib.import_module("depthattn.metrics")
    assert fresh.class_weights(torch.tensor([2, 1, 1])).tolist() == [0.5, 1.0, 1.0]
    with pytest.raises(ImportError, match=r'DepthBinnedMetrics needs torchmetrics: pip install "\.\[train\]"'):
        _ = fresh.DepthBinnedMetrics
