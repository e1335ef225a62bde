"""The Triton kernels of the semantic focal loss on resized logits, under the interpreter where there is no device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.ops.cases import labels_for, random
from tests.ops.test_semantic_focal_upsample import BOTH_SIZES, LargestResult, assert_same, problem, resized
from torch import Tensor
from torch.nn.functional import cross_entropy

from depthattn import use_backend
from depthattn.functional import semantic_focal_loss
from depthattn.ops.semantic_focal_upsample import TERMS, reference, triton

# The interpreter computes with NumPy, also what a mask then leaves out.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DOUBLE = torch.float64
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks with a tail in every direction, and gaps cut into parts."""
    for name, value in {"_CLASSES": 4, "_COLUMNS": 8, "_ROWS": 2, "_WALKED": 3}.items():
        monkeypatch.setattr(triton, name, value)


@pytest.fixture(autouse=True)
def triton_backend() -> Iterator[None]:
    with use_backend("triton"):
        yield


def formula(
    logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Per-image sums and the gradient of their sum weighted with ``scale``, in float64."""
    exact = logits.detach().to(DOUBLE).requires_grad_()
    sums = reference.per_pixel(exact, target, None if weight is None else weight.to(DOUBLE), gamma, -100).sum((1, 2))
    return sums.detach(), torch.autograd.grad(sums, exact, scale)[0]


def case(
    small: tuple[int, int], size: tuple[int, int], dtype: torch.dtype = DOUBLE
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Logits, labels of which some are ignored or wrong, class weights and a scale for each image."""
    logits = random(2, 5, *small, seed=1, low=-4, high=4).to(DEVICE, dtype)
    target = labels_for(2, *size, classes=5).to(DEVICE)
    target.view(-1)[::7] = 10**12
    weight, scale = (random(n, seed=n, low=0.2).to(DEVICE) for n in (5, 2))
    return logits, target, weight, scale


@BOTH_SIZES
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.usefixtures("poisoned_memory", "small_blocks")
def test_kernels_compute_the_formula_at_any_ratio(small: tuple[int, int], size: tuple[int, int], gamma: float) -> None:
    logits, target, weight, scale = case(small, size)
    sums, counts, weight_sums, terms = triton.forward(logits, target, weight, gamma, -100, True)
    gradient = triton.backward(scale, logits, target, weight, gamma, -100, terms)
    wanted, wanted_gradient = formula(logits, target, weight, gamma, scale)
    torch.testing.assert_close(sums, wanted, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-11, atol=1e-12)
    valid = (target >= 0) & (target < 5)
    assert torch.equal(counts, valid.sum((1, 2)))
    own = torch.where(valid, weight[torch.where(valid, target, 0)], 0)
    torch.testing.assert_close(weight_sums, own.sum((1, 2)))
    # Without the terms they are computed again, from the same numbers in the same order.
    assert torch.equal(triton.backward(scale, logits, target, weight, gamma, -100), gradient)


@BOTH_SIZES
def test_blocks_as_they_are_launched(small: tuple[int, int], size: tuple[int, int]) -> None:
    logits, target, _, scale = case(small, size)
    wanted, wanted_gradient = formula(logits, target, None, 1.0, scale)
    sums, *_, terms = triton.forward(logits, target, None, 1.0, -100, True)
    torch.testing.assert_close(sums, wanted, rtol=1e-11, atol=1e-12)
    gradient = triton.backward(scale, logits, target, None, 1.0, -100, terms)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
@pytest.mark.usefixtures("small_blocks")
def test_arithmetic_in_fp32_and_one_rounding(dtype: torch.dtype) -> None:
    for small, size in (((7, 5), (13, 14)), ((9, 8), (4, 3))):
        logits, target, weight, scale = case(small, size, dtype)
        sums, _, _, terms = triton.forward(logits, target, weight.float(), 2.0, -100, True)
        assert sums.dtype == terms.dtype == torch.float32
        gradient = triton.backward(scale.float(), logits, target, weight.float(), 2.0, -100, terms)
        assert gradient.dtype == dtype
        wanted, wanted_gradient = formula(logits, target, weight.float(), 2.0, scale.float().to(DOUBLE))
        torch.testing.assert_close(sums.to(DOUBLE), wanted, rtol=2e-6, atol=0)
        # The interpreter cuts bfloat16 off where a GPU rounds.
        last_bit = torch.finfo(dtype).eps / (1 if dtype == torch.bfloat16 else 2)
        error = (gradient.to(DOUBLE) - wanted_gradient).abs()
        assert (error <= last_bit * wanted_gradient.abs() + 2e-6 * wanted_gradient.abs().max()).all()


@pytest.mark.parametrize("classes", [1, 2, 19])
def test_any_number_of_classes(classes: int) -> None:
    logits = random(1, classes, 3, 4, seed=1, low=-4, high=4).to(DEVICE)
    target = labels_for(1, 7, 9, classes=classes).to(DEVICE)
    scale = logits.new_ones(1)
    wanted, wanted_gradient = formula(logits, target, None, 2.0, scale)
    sums, *_, terms = triton.forward(logits, target, None, 2.0, -100, True)
    torch.testing.assert_close(sums, wanted, rtol=1e-11, atol=1e-15)
    gradient = triton.backward(scale, logits, target, None, 2.0, -100, terms)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-11, atol=1e-12)


@BOTH_SIZES
@pytest.mark.usefixtures("small_blocks")
def test_equals_cross_entropy_of_resized_logits(small: tuple[int, int], size: tuple[int, int]) -> None:
    logits, target = problem(small, size)
    logits = logits.detach().to(DEVICE).requires_grad_()
    target = target.to(DEVICE)
    target[0, 0, 0] = 2
    weight = random(5, seed=3).to(DEVICE)
    ours = semantic_focal_loss(logits, target, weight=weight, gamma=0.0, normalize_by="weight", upsample="bilinear")
    assert_same(ours, cross_entropy(resized(logits, size), target, weight=weight), logits)


def _transposed(x: Tensor) -> Tensor:
    return x.transpose(2, 3).contiguous().transpose(2, 3)


def _sliced(x: Tensor) -> Tensor:
    wide = torch.full((*x.shape[:-2], x.shape[-2] + 2, 2 * x.shape[-1]), 7, dtype=x.dtype, device=x.device)
    view = wide[..., 1:-1, ::2]
    return view.copy_(x)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("layout", [_transposed, _sliced, _channels_last], ids=lambda f: f.__name__[1:])
@pytest.mark.usefixtures("small_blocks")
def test_strides_change_no_result_and_cost_no_copy(
    layout: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = set()
    original = triton.launch

    def spy(kernel: Any, programs: int, like: Tensor, *arguments: Any, **options: Any) -> None:
        read.update(x.untyped_storage().data_ptr() for x in arguments if isinstance(x, Tensor))
        original(kernel, programs, like, *arguments, **options)

    monkeypatch.setattr(triton, "launch", spy)
    plain, target, weight, _ = case((4, 5), (9, 7))
    target = target.clamp(max=4)
    strided, labels = layout(plain), _sliced(target[:1]).expand(2, -1, -1)
    weights = torch.stack((weight, weight), 1)[:, 0]
    results = []
    for logits, y, w in ((strided, labels, weights), (plain, target[:1].repeat(2, 1, 1), weight)):
        leaf = logits.detach().requires_grad_()
        loss = semantic_focal_loss(leaf, y, weight=w, upsample="bilinear", reduction="per_image")
        results.append((loss.detach(), *torch.autograd.grad(loss.sum(), leaf)))
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-14, atol=1e-14)
    assert {x.untyped_storage().data_ptr() for x in (strided, labels, weights)} <= read


def test_pixels_that_do_not_count_have_no_effect() -> None:
    """Logits that only ignored or wrongly labelled pixels read may be anything, and get exactly no gradient."""
    logits, target, weight, scale = case((4, 4), (8, 8))
    target[:, :, 4:] = torch.tensor([-100, 10**12, -(10**12), 5], device=DEVICE)
    results = []
    for spoiled in (0.0, math.nan, math.inf):
        values = logits.clone()
        values[..., 3] = spoiled
        sums, *_, terms = triton.forward(values, target, weight, 2.0, -100, True)
        results.append((sums, triton.backward(scale, values, target, weight, 2.0, -100, terms)))
    for sums, gradient in results[1:]:
        assert torch.equal(sums, results[0][0])
        assert torch.equal(gradient, results[0][1])
    assert not gradient[..., 3].any()
    assert gradient[..., 2].any()
    logits[1, 1, 1, 1] = math.nan
    sums = triton.forward(logits, target, weight, 2.0, -100, False)[0]
    assert sums.isnan().tolist() == [False, True]


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
def test_saturated_logits_have_their_exact_gradient(gamma: float) -> None:
    """Two classes, z apart, on one row of logits that are level: every label adds the gradient at z."""
    z = torch.tensor([5.0, 20.0, 60.0, -60.0], dtype=DOUBLE)
    logits = torch.stack([z, torch.zeros(4, dtype=DOUBLE)], 1).float().view(4, 2, 1, 1).to(DEVICE)
    target = torch.zeros(4, 2, 3, dtype=torch.int64, device=DEVICE)
    gradient = triton.backward(logits.new_ones(4), logits, target, None, gamma, -100)
    p, q, log_p = torch.sigmoid(z), torch.sigmoid(-z), torch.nn.functional.logsigmoid(z)
    wanted = 6 * q**gamma * (gamma * p * log_p - q)
    torch.testing.assert_close(gradient[:, 0, 0, 0].cpu().to(DOUBLE), wanted, rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("batch", [0, 2])
def test_nothing_labelled(batch: int) -> None:
    logits = random(batch, 3, 4, 5, seed=1).to(DEVICE).requires_grad_()
    loss = semantic_focal_loss(logits, torch.full((batch, 7, 9), -100, device=DEVICE), upsample="bilinear")
    assert loss.item() == 0
    assert not torch.autograd.grad(loss, logits)[0].any()


@pytest.mark.usefixtures("small_blocks")
def test_second_derivatives_and_transforms() -> None:
    logits, target = problem((2, 3), (3, 4), batch=1, classes=3)
    logits, target = logits.detach().to(DEVICE).requires_grad_(), target.to(DEVICE)

    def loss(x: Tensor) -> Tensor:
        return semantic_focal_loss(x, target, gamma=1.5, upsample="bilinear")

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)
    wanted = torch.autograd.grad(loss(logits), logits)[0]
    value = loss(logits)
    for _ in range(2):
        assert torch.equal(torch.autograd.grad(value, logits, retain_graph=True)[0], wanted)
    assert torch.equal(torch.func.grad(loss)(logits.detach()), wanted)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(compiled(logits), logits)[0], wanted)


def test_full_size_logits_are_never_made() -> None:
    """Beyond its inputs and the gradient a call holds the terms and less than one number more per label."""
    logits = random(1, 40, 8, 8, seed=1).float().to(DEVICE)
    target = labels_for(1, 32, 32, classes=40).to(DEVICE)
    with LargestResult() as seen:
        *_, terms = triton.forward(logits, target, None, 2.0, -100, True)
        triton.backward(logits.new_ones(1), logits, target, None, 2.0, -100, terms)
    assert terms.numel() == TERMS * target.numel()
    assert seen.largest == max(terms.numel(), logits.numel())
