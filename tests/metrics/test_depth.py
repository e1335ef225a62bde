"""Depth scores against NumPy, pixel by pixel, with holes, empty frames and batches of unequal size."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from tests.metrics.oracle import NAMES, per_image, pooled
from torch import Tensor
from torchmetrics import MetricCollection

from depthattn.metrics import BoundaryF1, ConstantDepthBaseline, DepthBinnedMetrics, DepthMetrics
from depthattn.metrics.exact import exact_sums


def frames(count: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Depth with holes of every kind; predictions that leave the range and are not numbers inside holes."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.3, 12.0, (count, 1, 12, 17)).astype(np.float32)
    pred = (target * rng.lognormal(0, 0.4, target.shape)).astype(np.float32)
    kind = rng.integers(0, 12, target.shape)
    for index, hole in enumerate((0.0, -1.0, np.nan, np.inf)):
        target[kind == index] = hole
    pred[kind <= 1] = np.nan
    pred[kind == 2] = np.inf
    pred[kind == 4] = -0.5
    return torch.from_numpy(pred), torch.from_numpy(target)


def check(scores: dict[str, Tensor], expected: dict[str, float]) -> None:
    assert tuple(scores) == NAMES
    for name, value in expected.items():
        assert scores[name].dtype == torch.float32
        assert float(scores[name]) == pytest.approx(value, rel=2e-6, abs=1e-7), name


@pytest.mark.parametrize(("pooling", "oracle"), [("images", per_image), ("pixels", pooled)])
def test_batches_of_unequal_size_with_holes_and_an_empty_frame(pooling: str, oracle: Any) -> None:
    pred, target = frames(6)
    target[2] = 0.0
    metrics = DepthMetrics(pooling=pooling)
    for part in (slice(0, 1), slice(1, 3), slice(3, 6)):
        metrics.update(pred[part], target[part])
    check(metrics.compute(), oracle(pred.numpy(), target.numpy()))


@pytest.mark.parametrize("pooling", ["images", "pixels"])
def test_a_hand_computed_case(pooling: str) -> None:
    metrics = DepthMetrics(pooling=pooling)
    metrics.update(torch.tensor([[2.0, 1.0, 8.0]]), torch.tensor([[1.0, 2.0, 8.0]]))
    log2 = np.log(2.0)
    expected = {
        "abs_rel": (1.0 + 0.5) / 3,
        "sq_rel": (1.0 + 0.5) / 3,
        "rmse": np.sqrt(2 / 3),
        "rmse_log": log2 * np.sqrt(2 / 3),
        "log10": 2 * np.log10(2.0) / 3,
        "silog": 100 * log2 * np.sqrt(2 / 3),
        "mae": 2 / 3,
        "irmse": 500 * np.sqrt(2 / 3),
        "delta05": 1 / 3,
        "delta1": 1 / 3,
        "delta2": 1 / 3,
        "delta3": 1 / 3,
    }
    check(metrics.compute(), expected)


def test_the_accuracy_of_the_root_of_the_threshold() -> None:
    metrics = DepthMetrics()
    metrics.update(torch.tensor([[1.11, 1.12, 1.26, 0.9]]), torch.ones(1, 4))
    assert [float(metrics.compute()[name]) for name in ("delta05", "delta1")] == [0.5, 0.75]


@pytest.mark.parametrize(("low", "high"), [(1e-3, 10.0), (0.5, 5.0), (1.0, 80.0), (1e-3, None)])
def test_range(low: float, high: float | None) -> None:
    pred, target = frames(2, seed=1)
    metrics = DepthMetrics(min_depth=low, max_depth=high)
    metrics.update(pred, target)
    check(metrics.compute(), per_image(pred.numpy(), target.numpy(), low, np.inf if high is None else high))


def test_the_ends_of_the_range_count() -> None:
    metrics = DepthMetrics(min_depth=1.0, max_depth=10.0)
    metrics.update(torch.full((1, 4), 5.0), torch.tensor([[1.0, 10.0, 0.999, 10.001]]))
    assert float(metrics.compute()["rmse"]) == pytest.approx(np.sqrt((16 + 25) / 2), rel=1e-7)


def test_mask() -> None:
    pred, target = frames(3, seed=2)
    mask = torch.rand(target.shape) < 0.5
    metrics = DepthMetrics()
    metrics.update(pred, target, mask)
    check(metrics.compute(), per_image(pred.numpy(), target.numpy(), mask=mask.numpy()))


def test_layouts_agree() -> None:
    pred, target = frames(1, seed=3)
    expected = per_image(pred.numpy(), target.numpy())
    for p, t in ((pred, target[0]), (pred[0, 0], target[0, 0]), (pred[:, 0], target)):
        metrics = DepthMetrics()
        metrics.update(p, t)
        check(metrics.compute(), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_dtypes_are_taken_at_their_value(dtype: torch.dtype) -> None:
    pred, target = (x.to(dtype) for x in frames(2, seed=4))
    metrics = DepthMetrics()
    metrics.update(pred, target)
    check(metrics.compute(), per_image(pred.double().numpy(), target.double().numpy()))


def test_nothing_seen_is_nan() -> None:
    metrics = DepthMetrics()
    metrics.update(torch.ones(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))
    scores = metrics.compute()
    assert tuple(scores) == NAMES
    assert all(bool(score.isnan()) for score in scores.values())


def test_a_prediction_that_is_not_a_number_shows() -> None:
    metrics = DepthMetrics()
    metrics.update(torch.tensor([[float("nan"), 1.0]]), torch.tensor([[1.0, 1.0]]))
    scores = metrics.compute()
    assert all(bool(scores[name].isnan()) for name in NAMES[:8])
    assert [float(scores[f"delta{power}"]) for power in (1, 2, 3)] == [0.5, 0.5, 0.5]


@pytest.mark.parametrize("pooling", ["images", "pixels"])
@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 5e-5), (torch.float64, 1e-6)])
def test_a_constant_factor_has_no_silog(pooling: str, dtype: torch.dtype, most: float) -> None:
    target = torch.linspace(1, 4, 5000, dtype=dtype).view(50, 100)
    metrics = DepthMetrics(pooling=pooling)
    metrics.update(1.1 * target, target)
    assert 0.0 <= float(metrics.compute()["silog"]) < most


def test_long_evaluations_do_not_drift() -> None:
    metrics = ConstantDepthBaseline(max_depth=None)
    metrics.update(torch.full((1, 1), 2.0**60))
    # Beside such a total, one metre is lost in float32 as in float64.
    for _ in range(3):
        metrics.update(torch.ones(1, 1))
    metrics.update(torch.full((1, 1), 1.0))
    metrics.total -= exact_sums(torch.tensor([2.0**60]))
    metrics.count -= 1
    assert float(metrics.compute()) == 1.0


@pytest.mark.parametrize("pooling", ["images", "pixels"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_without_a_limit_errors_of_what_is_not_finite_are_nan(pooling: str, value: float) -> None:
    metrics = DepthMetrics(max_depth=None, pooling=pooling)
    metrics.update(torch.tensor([[value, 1.0]]), torch.tensor([[1.0, 1.0]]))
    scores = metrics.compute()
    # The square of 1e30 is no float32, but its inverse is.
    wrong = NAMES[:8] if not np.isfinite(value) else ("sq_rel", "rmse")
    assert all(bool(scores[name].isnan()) for name in wrong)
    assert float(scores["delta3"]) == 0.5


@pytest.mark.parametrize("pooling", ["images", "pixels"])
def test_order_and_batches_change_nothing_at_all(pooling: str) -> None:
    pred, target = frames(7, seed=8)
    together, alone = DepthMetrics(pooling=pooling), DepthMetrics(pooling=pooling)
    together.update(pred, target)
    for index in (3, 0, 6, 2, 5, 1, 4):
        alone.update(pred[index], target[index])
    if pooling == "pixels":
        assert torch.equal(together.sums, alone.sums)
    for name, score in together.compute().items():
        assert float(score) == pytest.approx(float(alone.compute()[name]), rel=3e-7)


def test_two_processes_give_what_one_does() -> None:
    pred, target = frames(5, seed=5)
    halves = [DepthMetrics(), DepthMetrics()]
    halves[0].update(pred[:1], target[:1])
    halves[1].update(pred[1:], target[1:])
    # What torchmetrics does across processes: every state is reduced by its own function.
    joined = DepthMetrics()
    for state, reduce in joined._reductions.items():
        setattr(joined, state, reduce(torch.stack([getattr(half, state) for half in halves])))
    joined._update_count = 1
    check(joined.compute(), per_image(pred.numpy(), target.numpy()))


def test_as_a_torchmetrics_metric() -> None:
    pred, target = frames(2, seed=6)
    metrics = DepthMetrics()
    check(metrics(pred, target), per_image(pred.numpy(), target.numpy()))
    for other in (copy.deepcopy(metrics), pickle.loads(pickle.dumps(metrics))):
        check(other.compute(), per_image(pred.numpy(), target.numpy()))
    metrics.reset()
    metrics.update(pred[:1], target[:1])
    check(metrics.compute(), per_image(pred[:1].numpy(), target[:1].numpy()))
    named = MetricCollection({"depth": DepthMetrics()}, prefix="val/")
    named.update(pred, target)
    assert float(named.compute()["val/rmse"]) == pytest.approx(per_image(pred.numpy(), target.numpy())["rmse"])


def test_inputs_are_not_touched() -> None:
    pred, target = frames(2, seed=7)
    copies = pred.clone(), target.clone()
    DepthMetrics().update(pred, target)
    assert torch.equal(pred.nan_to_num(-7), copies[0].nan_to_num(-7))
    assert torch.equal(target.nan_to_num(-7), copies[1].nan_to_num(-7))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"min_depth": 0.0}, "expected a finite min_depth > 0, got 0"),
        ({"max_depth": 1e-3}, "expected max_depth above min_depth 0.001, got 0.001"),
    ],
)
@pytest.mark.parametrize("metric", [DepthMetrics, ConstantDepthBaseline])
def test_ranges_that_do_not_fit(metric: Any, options: dict[str, float], reason: str) -> None:
    with pytest.raises(ValueError, match=f"{metric.__name__}: {reason}"):
        metric(**options)


def test_shapes_that_do_not_fit() -> None:
    metrics = DepthMetrics()
    with pytest.raises(ValueError, match="DepthMetrics: expected pred and target of one size"):
        metrics.update(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 4, 5))
    for metric in (metrics, DepthBinnedMetrics(), BoundaryF1()):
        with pytest.raises(
            TypeError, match=rf"{type(metric).__name__}: expected pred .* ndarray; pass torch\.from_numpy"
        ):
            metric.update(np.ones((4, 4)), torch.ones(4, 4))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="DepthMetrics: expected mask as a bool tensor"):
        metrics.update(torch.ones(4, 4), torch.ones(4, 4), torch.ones(4, 4))
    with pytest.raises(ValueError, match="ConstantDepthBaseline: expected target of shape"):
        ConstantDepthBaseline().update(torch.ones(2, 3, 4, 4))


def test_the_baseline_is_the_best_constant() -> None:
    _, target = frames(5, seed=8)
    target[1] = 0.0
    baseline = ConstantDepthBaseline()
    for part in (slice(0, 2), slice(2, 5)):
        baseline.update(target[part])
    constant = float(baseline.compute())
    values = target.numpy()
    valid = values[np.isfinite(values) & (values > 0) & (values <= 10.0)].astype(np.float64)
    candidates = np.linspace(0.5, 10, 9501)
    rmse = np.sqrt(((valid[None] - candidates[:, None]) ** 2).mean(1))
    assert constant == pytest.approx(valid.mean(), rel=1e-7)
    assert constant == pytest.approx(candidates[rmse.argmin()], abs=1e-3)

    metrics = DepthMetrics(pooling="pixels")
    metrics.update(torch.full_like(target, constant), target)
    assert float(metrics.compute()["rmse"]) == pytest.approx(np.std(valid), rel=1e-6)


def test_the_baseline_with_a_mask_and_with_nothing() -> None:
    baseline = ConstantDepthBaseline()
    assert baseline(torch.zeros(1, 1, 3, 3)).isnan()
    baseline.reset()
    baseline.update(torch.tensor([[1.0, 3.0]]), torch.tensor([[False, True]]))
    assert float(baseline.compute()) == 3.0
