"""Sums of many pixels, predictions that are not finite, and processors that flush denormals to zero."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import pytest
import torch
from tests.ops.cases import blocks_of_labels, depth
from torch import Tensor

from depthattn import functional as F
from depthattn import use_backend

BACKENDS = ["reference", "cpu", pytest.param("triton", marks=pytest.mark.triton)]
REDUCTIONS = ["mean", "per_image", "sum", "none"]


@pytest.fixture
def flushed() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush denormals")
    yield
    torch.set_flush_denormal(False)


def constant(value: float, side: int) -> Tensor:
    """A map of side x side pixels that takes no memory."""
    return torch.tensor(value).expand(1, side, side)


SUMS: dict[str, Callable[[int], Tensor]] = {
    "depth_aware": lambda side: F.depth_aware_loss(constant(2.3, side), constant(3.1, side), reduction="sum"),
    "semantic_focal": lambda side: F.semantic_focal_loss(
        torch.tensor([0.3, -0.1])[None, :, None, None].expand(1, 2, side, side),
        torch.zeros((), dtype=torch.int64).expand(1, side, side),
        reduction="sum",
    ),
}


@pytest.mark.parametrize("name", SUMS)
@pytest.mark.parametrize(("backend", "side"), [("reference", 1024), ("cpu", 1024), ("cpu", 6000)])
def test_the_sum_of_constant_maps(name: str, backend: str, side: int) -> None:
    with use_backend(backend):
        one, many = SUMS[name](1).double(), SUMS[name](side).double()
    assert abs(many / (one * side * side) - 1) < 1e-6


def test_the_sum_of_constant_slopes() -> None:
    """A ramp: |Sh| is 8 in each window."""
    side = 3000
    ramp = torch.arange(side, dtype=torch.float32).expand(1, side, side)
    loss = F.joint_gradient_loss(ramp, constant(1.0, side), reduction="sum")
    assert abs(loss.double() / (8 * (side - 2) ** 2) - 1) < 1e-6


def with_gradient(loss: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    x = x.clone().requires_grad_()
    value = loss(x)
    return value.detach(), torch.autograd.grad(value, x, torch.ones_like(value))[0]


TARGET = depth(2, 6, 7, seed=2).float()
LABELS = blocks_of_labels(2, 6, 7)
CLASSES = torch.zeros(2, 6, 7, dtype=torch.int64)
LOSSES: dict[str, Callable[[Tensor, str], Tensor]] = {
    **{
        f"depth_aware-{distance}": lambda x, r, distance=distance: F.depth_aware_loss(
            x, TARGET, distance=distance, max_depth=10.0, reduction=r
        )
        for distance in ("smooth_l1", "l1", "l2", "berhu")
    },
    "joint_gradient": lambda x, r: F.joint_gradient_loss(x, TARGET, labels=LABELS, reduction=r),
}


# What a reduction makes of sums is the same code for all kernels, and interpreted ones take long.
RUNS = [
    *itertools.product(("reference", "cpu"), REDUCTIONS),
    pytest.param("triton", "mean", marks=pytest.mark.triton),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(("backend", "reduction"), RUNS)
@pytest.mark.parametrize("name", LOSSES)
def test_a_prediction_that_is_not_finite(name: str, backend: str, reduction: str, bad: float) -> None:
    pred = depth(2, 6, 7, seed=1).float()
    pred[0, 2, 3] = bad
    with use_backend("reference"):
        value, slope = with_gradient(lambda x: LOSSES[name](x.double(), reduction), pred)
    with use_backend(backend):
        ours, ours_slope = with_gradient(lambda x: LOSSES[name](x, reduction), pred)
    torch.testing.assert_close(ours.double(), value.double(), equal_nan=True, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ours_slope, slope, equal_nan=True, rtol=1e-5, atol=1e-5)
    hurt = ours if reduction in ("mean", "sum") else ours[0]
    if math.isnan(bad):
        assert hurt.isnan().any()
        assert ours_slope[0].isnan().any()
    else:
        assert (hurt == math.inf).any()
    assert ours_slope[1].isfinite().all()


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("backend", BACKENDS)
def test_an_infinite_depth_has_the_slope_of_its_distance(backend: str) -> None:
    """alpha = 0.5 and lambda = 1: the slope is 1.5 times the sign of the error."""
    with use_backend(backend):
        value, slope = with_gradient(
            lambda x: F.depth_aware_loss(x, torch.full((1, 2), 5.0), max_depth=10.0, reduction="sum"),
            torch.tensor([[math.inf, -math.inf]]),
        )
    assert value == math.inf
    torch.testing.assert_close(slope, torch.tensor([[1.5, -1.5]]))


@pytest.mark.usefixtures("flushed")
@pytest.mark.parametrize("backend", BACKENDS)
def test_flushing_denormals_hides_nothing(backend: str) -> None:
    with use_backend(backend):
        value, slope = with_gradient(
            lambda x: F.depth_aware_loss(x, torch.tensor([[2.5, 0.0]]), max_depth=10.0), torch.tensor([[2.0, 3.0]])
        )
    torch.testing.assert_close(value, torch.tensor(0.0466), rtol=0, atol=5e-5)
    torch.testing.assert_close(slope, torch.tensor([[-0.2198, 0.0]]), rtol=0, atol=5e-5)


@pytest.mark.usefixtures("flushed")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("log_offset", [0.0, 1.0])
def test_depths_near_zero_under_flush_to_zero(log_offset: float, dtype: torch.dtype) -> None:
    # Twice the smallest normal number: its half, too, is one.
    small = 2 * torch.finfo(dtype).tiny
    target = torch.tensor([[small, 1.0, 3.0, 2.0]], dtype=dtype)
    pred = torch.tensor([[1.0, small, 0.0, -1.0]], dtype=dtype)
    results = []
    for backend in ("reference", "cpu"):
        with use_backend(backend):
            results.append(
                with_gradient(
                    lambda x: F.depth_aware_loss(x, target, max_depth=4.0, log_offset=log_offset, reduction="sum"), pred
                )
            )
    for a, b in zip(*results, strict=True):
        assert a.isfinite().all()
        torch.testing.assert_close(a, b)


@pytest.mark.usefixtures("flushed")
@pytest.mark.parametrize("backend", ["reference", "cpu"])
def test_a_logarithm_that_is_flushed_moves_no_clamp(backend: str) -> None:
    """d = 1.2e-38 is above 0: the slope is that of alpha + lambda, -1, and that of lambda, -1 / b times b."""
    with use_backend(backend):
        value, slope = with_gradient(
            lambda x: F.depth_aware_loss(x, torch.full((1, 1), 1e-3), distance="l1", max_depth=10.0),
            torch.full((1, 1), 1.2e-38),
        )
    torch.testing.assert_close(value, torch.tensor(1.0001e-3))
    torch.testing.assert_close(slope, torch.tensor([[-1.0001 - 1e-3 / math.log1p(1e-3)]]))
