"""What the kernels of the depth-aware loss owe beyond the contract of every operation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from tests.ops.cases import depth, random, target_with_holes
from tests.ops.memory import peak_bytes
from tests.ops.threads import threads
from torch import Tensor

from depthattn import use_backend
from depthattn.functional import depth_aware_loss


def analytic_slope(p: float, g: float, o: float, distance: str, beta: float, m: float) -> float:
    """The derivative as the documentation states it, in float64; log(1 + x) is log1p(x) for o = 1."""
    log = math.log1p if o == 1 else lambda x: math.log(x + o) if x + o > 0 else -math.inf
    a, b, e = log(max(p, 0.0)), log(g), p - g
    weight = 0.0 if max(a, b) <= 0 else min(max(1 - min(a, b) / max(a, b), 0.0), 1.0)
    through = 0.0
    if p > 0 and a > 0 and b > 0 and p != g:
        through = b / (a * a * (p + o)) if p > g else -1 / (b * (p + o))
    size, sign = abs(e), math.copysign(1, e) if e else 0.0
    value, slope = {
        "l1": (size, sign),
        "l2": (e * e, 2 * e),
        "smooth_l1": (e * e / (2 * beta), e / beta) if size < beta else (size - beta / 2, sign),
    }[distance]
    return (min(g / m, 1) + weight) * slope + through * value


OPTIONS = [(distance, offset) for distance in ("smooth_l1", "l1", "l2") for offset in (1.0, 0.0, 0.5, 2.0)]
EDGES = [
    *(("cpu", *options) for options in OPTIONS),
    *(("reference", *options) for options in OPTIONS),
    *(pytest.param("triton", *options, marks=pytest.mark.triton) for options in OPTIONS),
]


@pytest.mark.parametrize(("backend", "distance", "offset"), EDGES)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter computes what a mask leaves out, too
def test_the_slope_at_the_edges_of_the_formula(backend: str, distance: str, offset: float) -> None:
    depths = [1e-10, 1e-3, 0.3, 0.5, 1 - 2**-20, 1.0, 1 + 2**-20, 1.5, 2.0, 10.0, 80.0, 1e15]
    predictions = [-2.0, -0.5, 0.0, 1e-40, *depths]
    pairs = torch.tensor(list(itertools.product(predictions, depths)))
    pred, target = pairs[None, None, :, 0].clone().requires_grad_(), pairs[None, None, :, 1]
    options = {"distance": distance, "beta": 0.7, "max_depth": 5.0, "log_offset": offset}
    with use_backend(backend):
        (ours,) = torch.autograd.grad(depth_aware_loss(pred, target, reduction="sum", **options), pred)
    exact = [analytic_slope(p, g, offset, distance, 0.7, 5.0) for p, g in pairs.double().tolist()]
    torch.testing.assert_close(ours.flatten().double(), torch.tensor(exact).double(), rtol=2e-6, atol=2e-6)


@pytest.mark.parametrize("reduction", ["none", "sum"])
def test_the_slope_of_next_to_nothing_does_not_depend_on_the_reduction(reduction: str) -> None:
    pred = torch.tensor([[[1e-12, 1e-20]]], requires_grad=True)
    loss = depth_aware_loss(pred, torch.full((1, 1, 2), 8.0), distance="l1", max_depth=8.0, reduction=reduction)
    (ours,) = torch.autograd.grad(loss.sum(), pred)
    # -(alpha + lambda) - |e| / log(9), as the documentation states it.
    torch.testing.assert_close(ours, torch.full((1, 1, 2), -2 - 8 / math.log(9)))


SHAPES = [(1, 7, 5), (4, 3, 5), (3, 1, 23), (2, 23, 1), (1, 1, 1), (2, 3, 300), (3, 130, 257)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("layout", ["rows", "columns", "every other"])
def test_blocks_and_chunks_do_not_show(shape: tuple[int, int, int], masked: bool, layout: str) -> None:
    pred, target = depth(*shape, seed=1), depth(*shape, seed=2)
    target[random(*shape, seed=3) < 0.2] = 0
    mask = random(*shape, seed=4) < 0.8 if masked else None
    if layout == "columns":
        pred, target = (x.mT.contiguous().mT for x in (pred, target))
    elif layout == "every other":
        pred = torch.stack((pred, torch.full_like(pred, math.nan)), -1)[..., 0]
    results = []
    for backend in ("cpu", "reference"):
        leaf = pred.clone(memory_format=torch.preserve_format).requires_grad_()
        with use_backend(backend):
            loss = depth_aware_loss(leaf, target, mask, reduction="per_image")
        results.append((loss.detach(), *torch.autograd.grad(loss.sum(), leaf)))
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-14)


def test_the_number_of_threads_does_not_show() -> None:
    pred, target = depth(3, 200, 300, seed=1).float().requires_grad_(), target_with_holes(3, 200, 300).float()
    results = []
    for number in (1, 2, 3):
        with threads(number):
            loss = depth_aware_loss(pred, target, distance="berhu", reduction="per_image")
            results.append((loss.detach(), *torch.autograd.grad(loss.sum(), pred)))
    for one, more in itertools.product(results[:1], results[1:]):
        assert all(torch.equal(a, b) for a, b in zip(one, more, strict=True))


def test_the_kept_buffer_is_given_away_once() -> None:
    pred, target = depth(2, 9, 11, seed=1).float().requires_grad_(), target_with_holes(2, 9, 11).float()
    loss = depth_aware_loss(pred, target)
    (first,) = torch.autograd.grad(loss, pred, retain_graph=True)
    kept = first.clone()
    (second,) = torch.autograd.grad(3 * loss, pred, retain_graph=True)
    (third,) = torch.autograd.grad(loss, pred)
    assert len({x.data_ptr() for x in (first, second, third)}) == 3
    assert torch.equal(first, kept)
    assert torch.equal(third, kept)
    torch.testing.assert_close(second, 3 * kept)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    pred, target = depth(2, 9, 11, seed=1).to(dtype), target_with_holes(2, 9, 11).to(dtype)
    slopes = []
    for kind in (dtype, torch.float32):
        leaf = pred.to(kind, copy=True).requires_grad_()
        loss = depth_aware_loss(leaf, target.to(kind), reduction="sum")
        slopes.append(torch.autograd.grad(loss, leaf)[0])
    assert torch.equal(slopes[0], slopes[1].to(dtype))


def test_the_turn_of_berhu_is_a_fifth_of_the_largest_valid_error_of_each_image() -> None:
    """By hand: errors 1 and 5, c = 1; value (alpha + lambda) times 1 and 13."""
    target = torch.tensor([[[4.0, 4.0, 0.0]], [[4.0, 4.0, 4.0]]])
    pred = torch.tensor([[[5.0, 9.0, 99.0]], [[4.0, 4.0, 4.0]]], requires_grad=True)
    values = depth_aware_loss(pred, target, distance="berhu", max_depth=8.0, reduction="none")
    weights = [0.5 + 1 - math.log(5) / math.log(d + 1) for d in (5.0, 9.0)]
    exact = torch.tensor([[[weights[0] * 1.0, weights[1] * 13.0, 0.0]], [[0.0, 0.0, 0.0]]])
    torch.testing.assert_close(values, exact)
    loss = depth_aware_loss(pred, target, distance="berhu", max_depth=8.0, detach_weight=True, reduction="sum")
    torch.testing.assert_close(loss, exact.sum())
    (slope,) = torch.autograd.grad(loss, pred)
    torch.testing.assert_close(slope, torch.tensor([[[weights[0], weights[1] * 5.0, 0.0]], [[0.0, 0.0, 0.0]]]))


def test_a_target_of_another_dtype() -> None:
    pred, target = depth(2, 9, 11, seed=1).float().requires_grad_(), target_with_holes(2, 9, 11)
    loss = depth_aware_loss(pred, target)
    (ours,) = torch.autograd.grad(loss, pred)
    wide = pred.detach().double().requires_grad_()
    exact = depth_aware_loss(wide, target)
    assert loss.dtype == torch.float64
    assert ours.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours, torch.autograd.grad(exact, wide)[0].float(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(8, 480, 640), (1, 300, 350)], ids=str)
def test_memory_is_the_gradient_and_a_tenth(shape: tuple[int, int, int], dtype: torch.dtype) -> None:
    pred = torch.rand(shape, dtype=dtype).requires_grad_()
    target = torch.rand(shape, dtype=dtype)

    def step() -> Tensor:
        return torch.autograd.grad(depth_aware_loss(pred, target), pred)[0]

    step()
    assert peak_bytes(step) <= 1.1 * pred.nbytes
