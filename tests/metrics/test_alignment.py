"""Alignment in depth, disparity and log depth against numpy.linalg.lstsq and numpy.median, image by image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from depthattn.metrics import DepthMetrics, align_depth, from_depth, to_depth

TO: dict[str, Callable[[np.ndarray], np.ndarray]] = {"depth": lambda g: g, "disparity": lambda g: 1 / g, "log": np.log}
FROM: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "depth": lambda p: p,
    "disparity": lambda p: 1 / p,
    "log": np.exp,
}


def frames(count: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Truth with holes of every kind, the third frame empty; what is predicted inside holes is nonsense."""
    rng = np.random.default_rng(seed)
    target = rng.uniform(0.5, 12.0, (count, 11, 13)).astype(np.float32)
    pred = rng.uniform(1.0, 3.0, target.shape).astype(np.float32)
    kind = rng.integers(0, 10, target.shape)
    for index, hole in enumerate((0.0, -1.0, np.nan, np.inf)):
        target[kind == index] = hole
    target[2] = 0.0
    return torch.from_numpy(pred), torch.from_numpy(target)


@pytest.mark.parametrize("space", ["depth", "disparity", "log"])
def test_a_perfect_model_of_each_space_scores_zero(space: str) -> None:
    _, target = frames(seed=1)
    truth = torch.where((target > 0) & (target < torch.inf), target, 3.0)
    pred = 3.7 * from_depth(truth, space) + 0.4
    metrics = DepthMetrics()
    metrics.update(align_depth(pred, target, method="least_squares", space=space), target)
    scores = metrics.compute()
    assert all(float(scores[name]) == pytest.approx(0.0, abs=2e-5) for name in ("abs_rel", "rmse", "rmse_log", "mae"))
    assert float(scores["delta05"]) == 1.0


@pytest.mark.parametrize("space", ["depth", "disparity", "log"])
def test_a_perfect_model_up_to_scale_needs_the_median_only(space: str) -> None:
    _, target = frames(seed=2)
    truth = torch.where((target > 0) & (target < torch.inf), target, 3.0)
    aligned = align_depth(from_depth(0.2 * truth, space), target, space=space)
    torch.testing.assert_close(aligned[[0, 1, 3]], truth[[0, 1, 3]], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("space", ["depth", "disparity", "log"])
@pytest.mark.parametrize("method", ["median", "least_squares"])
@pytest.mark.parametrize("masked", [False, True])
def test_against_numpy(space: str, method: str, masked: bool) -> None:
    pred, target = frames(seed=3)
    mask = torch.rand(target.shape, generator=torch.Generator().manual_seed(0)) < 0.7 if masked else None
    aligned = align_depth(pred, target, mask, method=method, space=space).numpy()
    for index in (0, 1, 3):
        g = target[index].numpy().astype(np.float64)
        keep = np.isfinite(g) & (g >= 1e-3) & (g <= 10)
        keep &= True if mask is None else mask[index].numpy()
        p, q = pred[index].numpy().astype(np.float64), TO[space](g[keep])
        if method == "least_squares":
            a, b = np.linalg.lstsq(np.stack([p[keep], np.ones(keep.sum())], 1), q, rcond=None)[0]
            expected = a * p + b
        elif space == "log":
            expected = p + np.median(q) - np.median(p[keep])
        else:
            expected = p * np.median(q) / np.median(p[keep])
        if space == "disparity":
            expected = np.where(expected <= 0, 0, expected)
        with np.errstate(divide="ignore"):
            np.testing.assert_allclose(aligned[index], FROM[space](expected), rtol=2e-4)


def test_it_keeps_the_shape_the_input_and_empty_images() -> None:
    pred, target = frames()
    before = pred.clone()
    for method in ("median", "least_squares"):
        aligned = align_depth(pred.unsqueeze(1), target, method=method)
        assert aligned.shape == (4, 1, 11, 13)
        assert aligned.dtype == torch.float32
        assert torch.equal(aligned[2, 0], pred[2])
        assert torch.equal(align_depth(pred, target, method=method, space="disparity")[2], 1 / pred[2])
    assert torch.equal(pred, before)


@pytest.mark.parametrize("method", ["median", "least_squares"])
def test_no_image_at_all(method: str) -> None:
    assert align_depth(torch.ones(0, 3, 4), torch.ones(0, 3, 4), method=method).shape == (0, 3, 4)


@pytest.mark.parametrize("value", [7.0, 7.1, 1e-3])
def test_a_constant_prediction_aligns_to_the_mean(value: float) -> None:
    aligned = align_depth(torch.full((1, 4), value), torch.tensor([[1.0, 2.0, 6.0, 0.0]]), method="least_squares")
    assert aligned.tolist() == [[3.0, 3.0, 3.0, 3.0]]


@pytest.mark.parametrize("space", ["depth", "disparity", "log"])
def test_a_prediction_that_is_not_a_number_shows(space: str) -> None:
    pred, target = torch.tensor([[float("nan"), 1.0, 2.0]]), torch.tensor([[1.0, 1.0, 2.0]])
    for method in ("median", "least_squares"):
        assert align_depth(pred, target, method=method, space=space).isnan().all()


def test_a_disparity_of_nothing_is_infinitely_far() -> None:
    assert to_depth(torch.tensor([2.0, 0.0, -1.0, float("nan")]), "disparity")[:3].tolist() == [0.5, np.inf, np.inf]
    assert to_depth(torch.tensor([float("nan")]), "disparity").isnan().all()
    # DepthMetrics clamps it to the end of the range.
    metrics = DepthMetrics(max_depth=10.0)
    metrics.update(to_depth(torch.tensor([[0.0, 0.5]]), "disparity"), torch.tensor([[9.0, 2.0]]))
    assert float(metrics.compute()["mae"]) == 0.5


def test_the_median_of_many_pixels() -> None:
    """torch.quantile takes 16 million numbers and no more."""
    pred = torch.ones(1, 4100, 4100, dtype=torch.float16)
    pred[0, :10] = 9.0
    aligned = align_depth(pred, torch.full_like(pred, 3.0))
    assert (float(aligned[0, 0, 0]), float(aligned[0, -1, -1])) == (27.0, 3.0)


@pytest.mark.parametrize("values", [[3.0], [1.0, 2.0], [5.0, 1.0, 3.0], [4.0, 1.0, 2.0, 8.0], [2.0, 2.0, 2.0, 9.0]])
def test_the_median_of_few(values: list[float]) -> None:
    target = torch.tensor([values])
    aligned = align_depth(torch.ones_like(target), target)
    assert aligned[0].tolist() == [np.median(values)] * len(values)


def test_options_that_do_not_fit() -> None:
    ones = torch.ones(2, 2)
    with pytest.raises(ValueError, match="align_depth: expected method as one of median, least_squares, got 'mean'"):
        align_depth(ones, ones, method="mean")
    with pytest.raises(ValueError, match="align_depth: expected space as one of depth, disparity, log, got 'inverse'"):
        align_depth(ones, ones, space="inverse")
    with pytest.raises(ValueError, match="align_depth: expected pred and target of one size"):
        align_depth(ones, torch.ones(2, 3))
    with pytest.raises(ValueError, match="to_depth: expected space as one of depth, disparity, log"):
        to_depth(ones, "inverse")
    with pytest.raises(TypeError, match="from_depth: expected depth in float16, bfloat16, float32 or float64"):
        from_depth(ones.int(), "log")
