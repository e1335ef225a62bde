"""What the tiled and the compiled joint gradient loss owe beyond the contract of every operation."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch
from tests.ops.cases import blocks_of_labels, depth, random, target_with_holes
from tests.ops.memory import peak_bytes
from torch import Tensor
from torch._dynamo.utils import counters

from depthattn import use_backend
from depthattn.functional import joint_gradient_loss
from depthattn.ops import tiling
from depthattn.ops.joint_gradient import eager, inductor, reference

NAMES = {eager: "eager", inductor: "inductor"}
IMPLEMENTATIONS = pytest.mark.parametrize("implementation", [eager, inductor], ids=NAMES.values())
KINDS = pytest.mark.parametrize("kind", ["none", "labels", "map"])
SCALES = 0.3, 1.7


def semantics_of(kind: str, shape: tuple[int, int, int]) -> Tensor | None:
    if kind == "none":
        return None
    if kind == "labels":
        return blocks_of_labels(*shape)
    values = random(*shape, seed=6, high=9.0)
    values[random(*shape, seed=7) < 0.05] = float("nan")
    values.view(-1)[-1] = float("inf")
    return values


def maps(kind: str, *shape: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    """A prediction that is NaN in a hole, a target with holes, a mask and semantics."""
    pred, target = depth(*shape, seed=1), depth(*shape, seed=2)
    target[random(*shape, seed=3) < 0.04] = 0
    mask = random(*shape, seed=4) < 0.97
    if kind == "none":
        pred[target == 0] = float("nan")
    semantics = semantics_of(kind, shape)
    if semantics is not None and semantics.is_floating_point():
        semantics = semantics.to(dtype)
    return pred.to(dtype), target.to(dtype), mask, semantics


def formula(pred: Tensor, target: Tensor, mask: Tensor | None, semantics: Tensor | None) -> tuple[Tensor, ...]:
    """Sums and windows of both terms, and the gradient of the sums times SCALES."""
    leaf = pred.clone().requires_grad_()
    values, windows = reference.depth_term(leaf, target, mask)
    depth_sums, depth_windows = values.sum((1, 2)), windows.sum((1, 2))
    semantic_sums, semantic_windows = torch.zeros_like(depth_sums), torch.zeros_like(depth_windows)
    if semantics is not None:
        values, windows = reference.semantic_term(leaf, semantics, -100)
        semantic_sums, semantic_windows = values.sum((1, 2)), windows.sum((1, 2))
    total = SCALES[0] * depth_sums.sum() + SCALES[1] * semantic_sums.sum()
    (gradient,) = torch.autograd.grad(total, leaf)
    return depth_sums.detach(), depth_windows, semantic_sums.detach(), semantic_windows, gradient


def by_hand(implementation: ModuleType, *maps: Tensor | None) -> tuple[Tensor, ...]:
    """The same from a forward pass that keeps the slopes; checks that recomputing gives the same bits."""
    *sums, slopes = implementation.forward_with_slopes(*maps, -100)
    scales = [torch.full_like(sums[0], scale) for scale in SCALES]
    recomputed, _ = implementation.backward(*scales, *maps, -100, False)
    implementation.unpack(slopes, *scales, maps[3], False)
    assert torch.equal(recomputed, slopes)
    return *sums, slopes


SHAPES = pytest.mark.parametrize("shape", [(2, 3, 3), (3, 3, 9), (2, 9, 3), (4, 5, 6), (2, 23, 7)])


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 12, 1000])
@SHAPES
@KINDS
def test_bands_do_not_show(rows: int, shape: tuple[int, int, int], kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = maps(kind, *shape)
    monkeypatch.setattr(tiling, "largest_tile", lambda *_: rows * shape[2])
    exact = formula(*inputs)
    for ours, wanted in zip(by_hand(eager, *inputs), exact, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)
    for ours, wanted in zip(eager.forward(*inputs, -100), exact[:4], strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["labels", "map"])
def test_the_compiled_formula_in_bands(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor, "tile_elements", lambda *_: 9 * 13)
    inputs = maps(kind, 2, 23, 13)
    for ours, exact in zip(by_hand(inductor, *inputs), formula(*inputs), strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-12)


def test_every_size_runs_the_code_compiled_for_the_first() -> None:
    counters.clear()
    graphs = []
    for shape in ((2, 9, 11), (3, 20, 17), (5, 8, 31), (4, 40, 12)):
        inputs = maps("map", *shape, dtype=torch.float32)
        ours = inductor.forward_with_slopes(*inputs, -100)
        tiled = eager.forward_with_slopes(*inputs, -100)
        graphs.append(counters["stats"]["unique_graphs"])
        for a, b in zip(ours, tiled, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
    assert graphs[-1] <= graphs[0] + 1


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_labels_of_any_integer_dtype(dtype: torch.dtype) -> None:
    pred, target, mask, labels = maps("labels", 2, 9, 11)
    assert labels is not None
    labels = labels.clamp(min=0)
    labels[:, 4:] = 156 if dtype == torch.uint8 else 100
    wanted = by_hand(eager, pred, target, mask, labels)
    for ours, exact in zip(by_hand(eager, pred, target, mask, labels.to(dtype)), wanted, strict=True):
        assert torch.equal(ours, exact)


def test_labels_that_float32_cannot_tell_apart() -> None:
    labels = torch.full((1, 5, 6), 2**40)
    labels[:, :, 3:] += 1
    pred = depth(1, 5, 6, seed=1).float()
    windows = eager.forward(pred, pred, None, labels, -100)[3]
    assert windows.tolist() == [6]


HALF_CASES = [
    *((eager, kind, dtype) for kind in ("none", "labels", "map") for dtype in (torch.float16, torch.bfloat16)),
    (inductor, "map", torch.bfloat16),
]


@pytest.mark.parametrize(("implementation", "kind", "dtype"), HALF_CASES)
def test_half_precision_is_rounded_once(implementation: ModuleType, kind: str, dtype: torch.dtype) -> None:
    pred, target, mask, semantics = maps(kind, 2, 9, 11, dtype=dtype)
    scales = [torch.full((2,), scale) for scale in SCALES]
    ours, to_semantics = implementation.backward(*scales, pred, target, mask, semantics, -100, kind == "map")
    wide = semantics.float() if kind == "map" and semantics is not None else semantics
    single, single_to = eager.backward(*scales, pred.float(), target.float(), mask, wide, -100, kind == "map")
    assert ours.dtype == dtype
    assert torch.equal(ours, single.to(dtype))
    assert torch.equal(to_semantics, single_to.to(dtype))


@IMPLEMENTATIONS
def test_the_gradient_of_a_map_that_requires_one(implementation: ModuleType) -> None:
    pred, target, mask, semantics = maps("map", 2, 9, 11)
    assert semantics is not None
    pred.requires_grad_()
    semantics.requires_grad_()
    with use_backend(NAMES[implementation]):
        loss = joint_gradient_loss(pred, target, semantics, mask=mask)
        kept = torch.autograd.grad(loss, (pred, semantics), retain_graph=True)
        again = torch.autograd.grad(loss, (pred, semantics))
    values, windows = reference.depth_term(pred, target, mask)
    term, term_windows = reference.semantic_term(pred, semantics, -100)
    exact = torch.autograd.grad(values.sum() / windows.sum() + term.sum() / term_windows.sum(), (pred, semantics))
    for first, second, wanted in zip(kept, again, exact, strict=True):
        assert first.data_ptr() != second.data_ptr()
        assert torch.equal(first, second)
        torch.testing.assert_close(first, wanted, rtol=1e-12, atol=1e-12)


def test_mixed_dtypes() -> None:
    pred, target, mask, semantics = maps("map", 2, 9, 11)
    assert semantics is not None
    leaf = pred.float().requires_grad_()
    loss = joint_gradient_loss(leaf, target, semantics.to(torch.bfloat16), mask=mask)
    (ours,) = torch.autograd.grad(loss, leaf, retain_graph=True)
    wide = leaf.detach().double().requires_grad_()
    exact = joint_gradient_loss(wide, target, semantics.to(torch.bfloat16).double(), mask=mask)
    torch.testing.assert_close(loss, exact, rtol=1e-12, atol=0)
    torch.testing.assert_close(ours, torch.autograd.grad(exact, wide)[0].float(), rtol=1e-6, atol=1e-8)
    assert torch.equal(torch.autograd.grad(loss, leaf)[0], ours)


@IMPLEMENTATIONS
@pytest.mark.parametrize("kind", ["labels", "map"])
def test_memory_is_the_gradient_and_a_tenth(implementation: ModuleType, kind: str) -> None:
    pred = torch.rand(8, 480, 640).requires_grad_()
    target = torch.rand(8, 480, 640)
    semantics = blocks_of_labels(8, 480, 640) if kind == "labels" else torch.rand(8, 480, 640)

    def step() -> Tensor:
        with use_backend(NAMES[implementation]):
            return torch.autograd.grad(joint_gradient_loss(pred, target, semantics), pred)[0]

    step()
    assert peak_bytes(step) <= 1.1 * pred.nbytes


def test_nothing_to_do_on_an_empty_batch() -> None:
    for implementation in NAMES:
        pred = torch.rand(0, 5, 6)
        *sums, slopes = implementation.forward_with_slopes(pred, pred, None, pred.long(), -100)
        assert [tuple(x.shape) for x in sums] == [(0,)] * 4
        assert slopes.shape == (0, 5, 6)


def test_a_hole_next_to_a_window() -> None:
    pred, target = depth(1, 3, 4, seed=1), target_with_holes(1, 3, 4).fill_(2.0)
    target[0, 0, 3] = 0
    pred[0, :, 3] = float("nan")
    sums, windows, *_ = eager.forward(pred, target, None, None, -100)
    assert windows.tolist() == [1]
    assert sums.isfinite().all()


def test_the_second_derivative_to_the_prediction_is_there_and_zero() -> None:
    """The loss is linear between its kinks; penalties on a gradient must not find a missing one."""
    pred, target = depth(2, 9, 11, seed=1).requires_grad_(), target_with_holes(2, 9, 11)
    (first,) = torch.autograd.grad(joint_gradient_loss(pred, target), pred, create_graph=True)
    (second,) = torch.autograd.grad((first * random(2, 9, 11, seed=3)).sum(), pred)
    assert first.abs().sum() > 0
    assert torch.equal(second, torch.zeros_like(pred))
