"""What the kernels of the semantic focal loss owe beyond the contract of every operation."""

from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from tests import oracle
from tests.ops.cases import labels_for, random
from tests.ops.threads import threads
from torch import Tensor
from torch.nn.functional import cross_entropy

from depthattn import use_backend
from depthattn.functional import semantic_focal_loss

# The interpreter computes with NumPy, also what a mask then leaves out.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

ON_THE_CPU = ["reference", pytest.param("cpu", marks=pytest.mark.native)]
CPU_BACKENDS = pytest.mark.parametrize("backend", ON_THE_CPU)
BACKENDS = pytest.mark.parametrize("backend", [*ON_THE_CPU, pytest.param("triton", marks=pytest.mark.triton)])
GAMMAS = pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])
INTEGERS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64]


@pytest.fixture
def _backend(backend: str) -> Iterator[None]:
    with use_backend(backend):
        yield


def exact(logits: Tensor, target: Tensor, gamma: float, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sum and gradient in float64, by the formula."""
    wide = logits.detach().double().requires_grad_()
    with use_backend("reference"):
        total = semantic_focal_loss(wide, target, weight=weight, gamma=gamma, reduction="sum")
    return total.detach(), torch.autograd.grad(total, wide)[0]


def ours(logits: Tensor, target: Tensor, gamma: float, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    total = semantic_focal_loss(leaf, target, weight=weight, gamma=gamma, reduction="sum")
    return total.detach(), torch.autograd.grad(total, leaf)[0]


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())


@GAMMAS
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("pixels", [1, 127, 128, 129, 300])
def test_blocks_do_not_show(gamma: float, weighted: bool, pixels: int) -> None:
    logits, target = random(2, 3, pixels, seed=1, low=-4, high=4), labels_for(2, pixels, classes=3)
    weight = random(3, seed=2) if weighted else None
    if weight is not None:
        weight[1] = 0.0
    value, gradient = ours(logits, target, gamma, weight)
    values, _, _ = oracle.semantic_focal(
        logits.numpy(), target.numpy(), None if weight is None else weight.numpy(), gamma
    )
    assert float(value) == pytest.approx(values.sum(), rel=1e-12)
    torch.testing.assert_close(gradient, exact(logits, target, gamma, weight)[1], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
def test_chunks_do_not_show_and_any_number_of_threads_gives_the_same_bits(dtype: torch.dtype) -> None:
    logits, target = random(2, 3, 40_000, seed=1, low=-4, high=4).to(dtype), labels_for(2, 40_000, classes=3)
    results = []
    for number in (1, 2):
        with threads(number):
            results.append(ours(logits, target, 2.0))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    value, gradient = results[0]
    wanted_value, wanted = exact(logits, target, 2.0)
    torch.testing.assert_close(value.double(), wanted_value, rtol=1e-6, atol=0)
    error = (gradient.double() - wanted).abs()
    assert (error <= torch.finfo(dtype).eps / 2 * wanted.abs() + 1e-6 * wanted.abs().max()).all()


@CPU_BACKENDS
@pytest.mark.usefixtures("_backend")
@GAMMAS
@pytest.mark.parametrize("own", [-300.0, 300.0, -1e4, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_saturated_logits(gamma: float, own: float, dtype: torch.dtype) -> None:
    """Value and gradient vanish at p = 1; at p = 0 value and gradient of the linear tail of the logarithm."""
    logits = torch.tensor([[own, 0.0, 0.0]], dtype=dtype)
    value, gradient = ours(logits, torch.tensor([0]), gamma)
    if own > 0:
        assert 0.0 <= value.item() < 1e-100
        assert gradient.abs().max().item() < 1e-100
    else:
        assert value.item() == pytest.approx(-own + math.log(2), rel=1e-6)
        torch.testing.assert_close(gradient, torch.tensor([[-1.0, 0.5, 0.5]], dtype=dtype))


@CPU_BACKENDS
@pytest.mark.usefixtures("_backend")
@GAMMAS
@pytest.mark.parametrize("margin", [-80.0, -5.0, 0.0, 5.0, 12.0, 20.0, 40.0, 80.0])
def test_confident_pixels_keep_their_relative_accuracy(gamma: float, margin: float) -> None:
    """1 - p from the other classes: in float32 1 - exp(log p) would be 0 from a margin of 17 on."""
    # Beyond that (1 - p)^gamma is below the smallest normal number.
    margin = min(margin, 80 / (1 + gamma))
    others = (0.0, -0.5, 0.25)
    value, gradient = ours(torch.tensor([[margin, *others]]), torch.tensor([0]), gamma)
    odds = math.fsum(math.exp(z - margin) for z in others)
    p, q, surprise = 1 / (1 + odds), odds / (1 + odds), math.log1p(odds)
    slope = q**gamma * (1 + gamma * p * surprise / q)
    wanted = [-slope * q, *(slope * p * math.exp(z - margin) for z in others)]
    assert value.item() == pytest.approx(q**gamma * surprise, rel=2e-5)
    assert gradient[0].tolist() == pytest.approx(wanted, rel=2e-5)


@GAMMAS
@pytest.mark.parametrize("classes", [2, 1000, 5000])
def test_few_and_many_classes(gamma: float, classes: int) -> None:
    logits, target = random(2, classes, 6, seed=3, low=-3, high=3).float(), labels_for(2, 6, classes=classes)
    value, gradient = ours(logits, target, gamma)
    wanted_value, wanted_gradient = exact(logits, target, gamma)
    assert distance(value, wanted_value) < 2e-6
    assert distance(gradient, wanted_gradient) < 2e-6


@BACKENDS
@pytest.mark.usefixtures("_backend")
@GAMMAS
def test_classes_masked_out_by_minus_infinity(gamma: float) -> None:
    """They are as good as absent; where the label itself is, the loss is infinite and the gradient its limit."""
    kept, target = random(1, 3, 8, seed=4, low=-2, high=2), labels_for(1, 8, classes=3)
    logits = torch.cat((kept, torch.full((1, 2, 8), -math.inf, dtype=torch.float64)), 1)
    value, gradient = ours(logits, target, gamma)
    wanted_value, wanted_gradient = ours(kept, target, gamma)
    torch.testing.assert_close(value, wanted_value)
    torch.testing.assert_close(gradient[:, :3], wanted_gradient)
    assert not gradient[:, 3:].any()
    value, gradient = ours(logits, torch.full((1, 8), 4), gamma)
    assert value.item() == math.inf
    torch.testing.assert_close(gradient[:, :3], kept.softmax(1))
    torch.testing.assert_close(gradient[:, 4], torch.full_like(gradient[:, 4], -1))


@BACKENDS
@pytest.mark.usefixtures("_backend")
def test_all_but_the_label_masked_out() -> None:
    logits = torch.full((1, 3, 2), -math.inf)
    logits[:, 1] = 0.5
    value, gradient = ours(logits, torch.ones(1, 2, dtype=torch.int64), 0.5)
    assert value.item() == 0.0
    assert not gradient.any()


def test_numbering_of_the_classes_does_not_matter() -> None:
    logits, target = random(2, 6, 30, seed=5, low=-3, high=3), labels_for(2, 30, classes=6)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    weight = random(6, seed=6)
    moved = torch.where(target == -100, target, order.argsort()[target.clamp(min=0)])
    value, gradient = ours(logits, target, 2.0, weight)
    value_moved, gradient_moved = ours(logits[:, order], moved, 2.0, weight[order])
    torch.testing.assert_close(value_moved, value)
    torch.testing.assert_close(gradient_moved, gradient[:, order])


@BACKENDS
@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("junk", [math.nan, math.inf])
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("place", [0, 1])
def test_logits_that_are_not_finite(junk: float, gamma: float, place: int) -> None:
    """NaN at every class of the pixel, as cross entropy has it, whether the label's logit is the one or another is."""
    logits = torch.zeros(1, 3, 4)
    logits[0, place, 1] = junk
    target = torch.zeros(1, 4, dtype=torch.int64)
    value, gradient = ours(logits, target, gamma)
    assert value.isnan()
    assert gradient.isnan()[0].all(0).tolist() == [False, True, False, False]
    leaf = logits.clone().requires_grad_()
    wanted = torch.autograd.grad(cross_entropy(leaf, target), leaf)[0]
    assert torch.equal(gradient.isnan(), wanted.isnan())
    target[0, 1] = -100
    value, gradient = ours(logits, target, gamma)
    assert value.isfinite()
    assert torch.equal(gradient[..., 1], torch.zeros(1, 3))


@CPU_BACKENDS
@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize(("classes", "ignore_index"), [(5, 3), (5, -100), (100, 255), (300, -1), (130, 7)])
def test_labels_of_any_integer_dtype(dtype: torch.dtype, reduction: str, classes: int, ignore_index: int) -> None:
    """As int64 has them, also where the dtype holds neither the number of classes nor the ignored label."""
    largest = min(classes, torch.iinfo(dtype).max + 1)
    logits, target = random(2, classes, 5, seed=7, low=-3, high=3), labels_for(2, 5, classes=largest) % largest
    target[0, 0] = largest - 1
    results = []
    for labels in (target, target.to(dtype)):
        leaf = logits.clone().requires_grad_()
        loss = semantic_focal_loss(leaf, labels, ignore_index=ignore_index, reduction=reduction)
        (first,) = torch.autograd.grad(loss.sum(), leaf, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), leaf)
        results.append((loss.detach(), first.detach(), second))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@BACKENDS
@pytest.mark.usefixtures("_backend")
def test_bool_labels_are_0_and_1() -> None:
    logits, target = random(2, 2, 5, seed=7, low=-3, high=3), labels_for(2, 5, classes=2) == 1
    for a, b in zip(ours(logits, target, 2.0), ours(logits, target.long(), 2.0), strict=True):
        assert torch.equal(a, b)


@BACKENDS
@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("reduction", ["sum", "none"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.uint64])
def test_the_first_wrong_label_is_named(reduction: str, dtype: torch.dtype) -> None:
    """A byte of 255 is not the ignored label -1, and no class of five either."""
    target = torch.zeros(2, 300, dtype=dtype)
    target[0, 200], target[1, 3] = 255, 77
    with pytest.raises(ValueError, match=r"semantic_focal_loss: expected labels in \[0, 5\) .* = -1, got 255$"):
        semantic_focal_loss(torch.zeros(2, 5, 300), target, ignore_index=-1, reduction=reduction)


@CPU_BACKENDS
@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_equals_cross_entropy(axes: int) -> None:
    shape = (4, 5, 6)[:axes]
    logits = random(8, 7, *shape, seed=9, low=-3, high=3).float().requires_grad_()
    target, weight = labels_for(8, *shape, classes=7), random(7, seed=10).float()
    loss = semantic_focal_loss(logits, target, weight=weight, gamma=0.0, normalize_by="weight")
    (gradient,) = torch.autograd.grad(loss, logits)
    wanted = cross_entropy(logits, target, weight=weight)
    torch.testing.assert_close(loss, wanted)
    torch.testing.assert_close(gradient, torch.autograd.grad(wanted, logits)[0])


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "expanded"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_strides_give_the_same_numbers(layout: str, dtype: torch.dtype) -> None:
    target = labels_for(2, 6, 8, classes=5)
    logits = random(2, 5, 6, 8, seed=11, low=-3, high=3).to(dtype)
    strided = {
        "channels_last": logits.contiguous(memory_format=torch.channels_last),
        "sliced": torch.stack((logits, logits), 4)[..., 0],
        "expanded": logits[:1].expand(2, -1, -1, -1),
    }[layout]
    for a, b in zip(ours(strided, target, 2.0), ours(strided.contiguous(), target, 2.0), strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 5e-7), (torch.float16, 5e-4)], ids=["fp32", "fp16"])
def test_nothing_is_read_before_it_is_written(dtype: torch.dtype, bound: float) -> None:
    logits, target = random(2, 5, 6, 8, seed=12, low=-3, high=3).to(dtype), labels_for(2, 6, 8, classes=5)
    value, gradient = ours(logits, target, 2.0)
    wanted_value, wanted_gradient = exact(logits, target, 2.0)
    assert distance(value, wanted_value) < 1e-6
    assert distance(gradient, wanted_gradient) < bound


@CPU_BACKENDS
@pytest.mark.usefixtures("_backend")
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("own", [-1e3, -3.0, 0.0, 8.0])
def test_second_derivatives_of_two_classes(gamma: float, own: float) -> None:
    """Against differences of the first one, computed by hand: f' = -q^g (q - g p log p) with p = sigmoid(z)."""

    def slope(z: float) -> float:
        p, q = 1 / (1 + math.exp(-z)) if z > -700 else 0.0, 1 / (1 + math.exp(z))
        log_p = -math.log1p(math.exp(-z)) if z > -700 else z
        return -(q**gamma) * (q - gamma * p * log_p)

    logits = torch.tensor([[[own], [0.0]]], dtype=torch.float64, requires_grad=True)
    loss = semantic_focal_loss(logits, torch.zeros(1, 1, dtype=torch.int64), gamma=gamma, reduction="sum")
    (first,) = torch.autograd.grad(loss, logits, create_graph=True)
    (second,) = torch.autograd.grad(first[0, 0, 0], logits)
    assert first[0, 0, 0].item() == pytest.approx(slope(own), rel=1e-9)
    wanted = (slope(own + 1e-5) - slope(own - 1e-5)) / 2e-5
    assert second[0, 0, 0].item() == pytest.approx(wanted, rel=1e-5, abs=1e-10)
