"""What the tiled and the compiled depth-aware loss owe beyond the contract of every operation."""

from __future__ import annotations

import itertools
import math
from types import ModuleType

import pytest
import torch
from tests.ops.cases import depth, random, target_with_holes
from tests.ops.memory import peak_bytes
from torch import Tensor
from torch._dynamo.utils import counters

from depthattn import use_backend
from depthattn.functional import depth_aware_loss
from depthattn.ops import tiling
from depthattn.ops.depth_aware import eager, inductor, reference
from depthattn.ops.masking import image_maximum

DISTANCES = pytest.mark.parametrize("distance", ["smooth_l1", "l1", "l2"])
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", [eager, inductor], ids=["eager", "inductor"])


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


# Compiling takes seconds: there, each distance and each kind of offset once.
OPTIONS = [(distance, offset) for distance in ("smooth_l1", "l1", "l2") for offset in (1.0, 0.0, 0.5, 2.0)]
EDGES = [
    *(("eager", *options) for options in OPTIONS),
    *(pytest.param("triton", *options, marks=pytest.mark.triton) for options in OPTIONS),
    *[("inductor", "smooth_l1", 1.0), ("inductor", "l1", 2.0), ("inductor", "l2", 0.0)],
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


@DISTANCES
@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("offset", [1.0, 0.0, 2.0])
def test_no_further_from_the_truth_than_the_formula_in_float32(distance: str, detach: bool, offset: float) -> None:
    pred, target = depth(2, 40, 50, seed=1), target_with_holes(2, 40, 50)
    norm = image_maximum(target, None)

    def formula(dtype: torch.dtype) -> Tensor:
        leaf = pred.detach().to(dtype).requires_grad_()
        constants = target.to(dtype), None, norm.to(dtype), distance, 1.0, offset, detach
        return torch.autograd.grad(reference.per_pixel(leaf, *constants).sum(), leaf)[0].double()

    exact = formula(torch.float64)
    pred, target = pred.float(), target.float()
    _, _, _, ours = eager.forward(pred, target, None, distance, 1.0, None, offset, detach, True)
    textbook = formula(torch.float32)
    assert (ours - exact).abs().max() <= 1.5 * (textbook - exact).abs().max() + 1e-7


SHAPES = pytest.mark.parametrize("shape", [(1, 7, 5), (4, 3, 5), (3, 1, 23), (2, 23, 1), (1, 1, 1)])


@pytest.mark.parametrize("elements", [1, 7, 11, 30, 10**6])
@SHAPES
@pytest.mark.parametrize("masked", [False, True])
def test_tiles_do_not_show(
    elements: int, shape: tuple[int, int, int], masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pred, target = depth(*shape, seed=1), depth(*shape, seed=2)
    target[random(*shape, seed=3) < 0.2] = 0
    mask = random(*shape, seed=4) < 0.8 if masked else None
    options = ("smooth_l1", 1.0, None, 1.0, False, True)
    whole = eager.forward(pred, target, mask, *options)
    monkeypatch.setattr(tiling, "largest_tile", lambda *_: elements)
    sums, counts, norm, gradient = eager.forward(pred, target, mask, *options)
    torch.testing.assert_close(sums, whole[0], rtol=1e-14, atol=1e-14)
    assert torch.equal(counts, whole[1])
    assert torch.equal(norm, whole[2])
    assert torch.equal(gradient, whole[3])
    scale = torch.full(shape[:1], 0.3, dtype=pred.dtype)
    again = eager.backward(scale, pred, target, mask, norm, "smooth_l1", 1.0, 1.0, False)
    assert torch.equal(again, whole[3] * 0.3)


@IMPLEMENTATIONS
def test_the_kept_buffer_is_given_away_once(implementation: ModuleType) -> None:
    name = "eager" if implementation is eager else "inductor"
    pred, target = depth(2, 9, 11, seed=1).float().requires_grad_(), target_with_holes(2, 9, 11).float()
    with use_backend(name):
        loss = depth_aware_loss(pred, target)
        (first,) = torch.autograd.grad(loss, pred, retain_graph=True)
        kept = first.clone()
        (second,) = torch.autograd.grad(3 * loss, pred, retain_graph=True)
        (third,) = torch.autograd.grad(loss, pred)
    assert len({x.data_ptr() for x in (first, second, third)}) == 3
    assert torch.equal(first, kept)
    assert torch.equal(third, kept)
    torch.testing.assert_close(second, 3 * kept)


HALF_CASES = [(eager, torch.float16), (eager, torch.bfloat16), (inductor, torch.bfloat16)]


@pytest.mark.parametrize(("implementation", "dtype"), HALF_CASES)
def test_half_precision_is_rounded_once(implementation: ModuleType, dtype: torch.dtype) -> None:
    pred, target = depth(2, 9, 11, seed=1).to(dtype), target_with_holes(2, 9, 11).to(dtype)
    norm, scale = torch.tensor([9.0, 8.0]), torch.tensor([0.3, 1.7])
    options = ("smooth_l1", 1.0, 1.0, False)
    ours = implementation.backward(scale, pred, target, None, norm, *options)
    wide = eager.backward(scale, pred.float(), target.float(), None, norm, *options)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours, wide.to(dtype), rtol=0.0, atol=0.0 if implementation is eager else 1e-3)


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


def test_the_compiled_formula_agrees_and_takes_every_size_without_compiling_again() -> None:
    counters.clear()
    graphs = []
    for shape in ((2, 9, 11), (3, 20, 17), (5, 8, 31), (4, 40, 12)):
        pred, target = depth(*shape, seed=1).float(), target_with_holes(*shape).float()
        ours = inductor.forward(pred, target, None, "smooth_l1", 1.0, None, 1.0, False, True)
        tiled = eager.forward(pred, target, None, "smooth_l1", 1.0, None, 1.0, False, True)
        graphs.append(counters["stats"]["unique_graphs"])
        for a, b in zip(ours, tiled, strict=True):
            torch.testing.assert_close(a, b, rtol=2e-6, atol=2e-6)
    assert graphs[-1] <= graphs[0] + 1


@pytest.mark.parametrize(("distance", "beta"), [("l2", 1.0), ("smooth_l1", 0.3)])
def test_the_compiled_slope_of_other_distances(distance: str, beta: float) -> None:
    pred, target = depth(2, 9, 11, seed=1), target_with_holes(2, 9, 11)
    ours = inductor.forward(pred.float(), target.float(), None, distance, beta, 5.0, 1.0, False, True)
    exact = eager.forward(pred, target, None, distance, beta, 5.0, 1.0, False, True)
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a.to(b.dtype), b, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize(
    ("implementation", "dtype"), [(eager, torch.float32), (eager, torch.float64), (inductor, torch.float32)]
)
def test_memory_is_the_gradient_and_a_tenth(implementation: ModuleType, dtype: torch.dtype) -> None:
    pred = torch.rand(8, 480, 640, dtype=dtype).requires_grad_()
    target = torch.rand(8, 480, 640, dtype=dtype)

    def step() -> Tensor:
        with use_backend("eager" if implementation is eager else "inductor"):
            return torch.autograd.grad(depth_aware_loss(pred, target), pred)[0]

    step()
    assert peak_bytes(step) <= 1.1 * pred.nbytes


@torch.no_grad()
def test_scratch_memory_stops_growing() -> None:
    pred = torch.ones(1, 16000, 1000)
    few = peak_bytes(lambda: depth_aware_loss(pred[:, :8000], pred[:, :8000]))
    assert peak_bytes(lambda: depth_aware_loss(pred, pred)) <= 1.01 * few
