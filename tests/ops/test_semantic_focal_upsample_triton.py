"""The Triton kernels of the semantic focal loss on resized logits, under the interpreter where there is no device."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from tests.ops.cases import labels_for, random
from tests.ops.test_triton import BLOCKS
from torch import Tensor

from depthattn import use_backend
from depthattn.functional import semantic_focal_loss
from depthattn.ops.semantic_focal import labels
from depthattn.ops.semantic_focal_upsample import SemanticFocalUpsampleOptions, reference, triton

# The interpreter computes with NumPy, also what a mask then leaves out.
pytestmark = [pytest.mark.triton, pytest.mark.filterwarnings("ignore::RuntimeWarning")]

DOUBLE = torch.float64
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks with a tail in every direction, and gaps cut into parts."""
    for name, value in BLOCKS["semantic_focal_upsample"].items():
        monkeypatch.setattr(triton, name, value)


@pytest.fixture(autouse=True)
def triton_backend() -> Iterator[None]:
    with use_backend("triton"):
        yield


@pytest.fixture(autouse=True)
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels are not checked, and a wrong one counts as ignored."""
    monkeypatch.setattr(labels, "validates", lambda device: False)


def options_of(gamma: float, corners: bool = False, normalize_by: str = "pixels") -> SemanticFocalUpsampleOptions:
    return SemanticFocalUpsampleOptions(gamma, -100, normalize_by, "mean", corners)


def forward(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: SemanticFocalUpsampleOptions
) -> tuple[Tensor, Tensor, Tensor]:
    """Sums and counts of the images, (B,), and the terms of the labels."""
    sums, counts, terms, _ = triton.forward(logits, target, weight, options, lambda counts: counts)
    return sums[0], counts[0], terms


def backward(
    scale: Tensor, logits: Tensor, target: Tensor, weight: Tensor | None, options: SemanticFocalUpsampleOptions,
    terms: Tensor,
) -> Tensor:  # fmt: skip
    return triton.backward(scale[None], logits, target, weight, terms, options, [True])[0]


def formula(
    logits: Tensor, target: Tensor, weight: Tensor | None, options: SemanticFocalUpsampleOptions, scale: Tensor
) -> tuple[Tensor, Tensor]:
    """Per-image sums and the gradient of their sum weighted with ``scale``, in float64."""
    exact = logits.detach().to(DOUBLE).requires_grad_()
    own = None if weight is None else weight.to(DOUBLE)
    sums = reference.values(exact, target, own, options)[0].sum((1, 2))
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


def assert_computes_the_formula(
    logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, scale: Tensor, corners: bool = False
) -> None:
    by_weight = weight is not None and gamma > 0
    options = options_of(gamma, corners, "weight" if by_weight else "pixels")
    sums, counts, terms = forward(logits, target, weight, options)
    gradient = backward(scale, logits, target, weight, options, terms)
    wanted, wanted_gradient = formula(logits, target, weight, options, scale)
    torch.testing.assert_close(sums, wanted, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-11, atol=1e-12)
    valid = (target >= 0) & (target < logits.shape[1])
    own = torch.where(valid, weight[torch.where(valid, target, 0)], 0) if by_weight else valid.to(DOUBLE)
    torch.testing.assert_close(counts, own.sum((1, 2)))


@pytest.mark.parametrize(
    ("small", "size", "gamma", "corners"),
    [
        ((3, 3), (7, 9), 2.0, False),
        ((7, 5), (13, 4), 0.5, False),
        ((1, 1), (5, 6), 0.0, False),
        ((7, 9), (4, 5), 2.0, False),
        ((6, 7), (1, 1), 0.5, False),
        ((3, 2), (3, 9), 0.0, False),
        ((3, 4), (7, 3), 2.0, True),
        ((1, 4), (5, 1), 0.5, True),
    ],
    ids=[
        "up", "up and down", "from one pixel", "down", "to one pixel", "along one axis", "corners",
        "corners of one pixel",
    ],
)  # fmt: skip
@pytest.mark.usefixtures("poisoned_memory", "small_blocks")
def test_kernels_compute_the_formula_at_any_ratio(
    small: tuple[int, int], size: tuple[int, int], gamma: float, corners: bool
) -> None:
    logits, target, weight, scale = case(small, size)
    assert_computes_the_formula(logits, target, weight, gamma, scale, corners)


def test_blocks_as_they_are_launched() -> None:
    logits, target, _, scale = case((2, 3), (11, 130))
    assert_computes_the_formula(logits[:1], target[:1], None, 1.0, scale[:1])


@pytest.mark.parametrize("classes", [2, 19])
def test_any_number_of_classes(classes: int) -> None:
    logits = random(1, classes, 2, 3, seed=1, low=-4, high=4).to(DEVICE)
    target = labels_for(1, 3, 5, classes=classes).to(DEVICE)
    assert_computes_the_formula(logits, target, None, 2.0, logits.new_ones(1))


@pytest.mark.usefixtures("small_blocks")
def test_without_terms_the_same_numbers_are_computed_again() -> None:
    logits, target, weight, scale = case((2, 2), (3, 4))
    options = options_of(2.0)
    terms = forward(logits, target, weight, options)[2]
    gradient = backward(scale, logits, target, weight, options, logits.new_empty(0))
    assert torch.equal(gradient, backward(scale, logits, target, weight, options, terms))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=["fp32", "fp16", "bf16"])
@pytest.mark.usefixtures("small_blocks")
def test_arithmetic_in_fp32_and_one_rounding(dtype: torch.dtype) -> None:
    logits, target, weight, scale = (x if x.dtype == torch.int64 else x.float() for x in case((3, 4), (5, 9)))
    logits = logits.to(dtype)
    sums, _, terms = forward(logits, target, weight, options_of(2.0))
    assert terms.dtype == torch.float32
    gradient = backward(scale, logits, target, weight, options_of(2.0), terms)
    assert gradient.dtype == dtype
    wanted, wanted_gradient = formula(logits, target, weight, options_of(2.0), scale.to(DOUBLE))
    torch.testing.assert_close(sums.to(DOUBLE), wanted, rtol=2e-6, atol=0)
    # The interpreter cuts bfloat16 off where a GPU rounds.
    last_bit = torch.finfo(dtype).eps / (1 if dtype == torch.bfloat16 else 2)
    error = (gradient.to(DOUBLE) - wanted_gradient).abs()
    assert (error <= last_bit * wanted_gradient.abs() + 2e-6 * wanted_gradient.abs().max()).all()


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
    logits, target, weight, scale = case((2, 3), (3, 5))
    logits, target = layout(logits), _sliced(target[:1]).expand(2, -1, -1)
    weight, scale = torch.stack((weight, weight), 1)[:, 0], scale[:1].expand(2)
    assert_computes_the_formula(logits, target, weight, 2.0, scale)
    assert {x.untyped_storage().data_ptr() for x in (logits, target, weight, scale)} <= read


def test_pixels_that_do_not_count_have_no_effect() -> None:
    """Logits that only ignored or wrongly labelled pixels read may be anything, and get exactly no gradient."""
    logits, target, weight, scale = case((2, 4), (4, 8))
    target[:, :, 4:] = torch.tensor([-100, 10**12, -(10**12), 5], device=DEVICE)
    spoiled = logits.clone()
    spoiled[..., 3] = torch.tensor([math.nan, math.inf], device=DEVICE)
    results = []
    for values in (logits, spoiled):
        sums, _, terms = forward(values, target, weight, options_of(2.0))
        results.append((sums, backward(scale, values, target, weight, options_of(2.0), terms)))
    for ours, wanted in zip(*results, strict=True):
        assert torch.equal(ours, wanted)
    gradient = results[1][1]
    assert not gradient[..., 3].any()
    assert gradient[..., :3].all()
    logits[1, 1, 1, 1] = math.nan
    sums, _, terms = forward(logits, target, weight, options_of(2.0))
    assert sums.isnan().tolist() == [False, True]
    gradient = backward(scale, logits, target, weight, options_of(2.0), terms)
    assert torch.equal(gradient[0], results[0][1][0])
    assert gradient[1, :, :, :3].isnan().any(0).all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_saturated_logits_have_their_exact_gradient(gamma: float) -> None:
    """Two classes, z apart, on one row of logits that are level: every label adds the gradient at z."""
    z = torch.tensor([5.0, 20.0, 60.0, -60.0], dtype=DOUBLE)
    logits = torch.stack([z, torch.zeros(4, dtype=DOUBLE)], 1).float().view(4, 2, 1, 1).to(DEVICE)
    target = torch.zeros(4, 2, 3, dtype=torch.int64, device=DEVICE)
    gradient = backward(logits.new_ones(4), logits, target, None, options_of(gamma), logits.new_empty(0))
    p, q, log_p = torch.sigmoid(z), torch.sigmoid(-z), torch.nn.functional.logsigmoid(z)
    wanted = 6 * q**gamma * (gamma * p * log_p - q)
    torch.testing.assert_close(gradient[:, 0, 0, 0].cpu().to(DOUBLE), wanted, rtol=2e-5, atol=1e-37)
    torch.testing.assert_close(gradient[:, 1, 0, 0].cpu().to(DOUBLE), -wanted, rtol=2e-5, atol=1e-37)


@pytest.mark.parametrize("batch", [0, 2])
def test_nothing_labelled(batch: int) -> None:
    logits = random(batch, 3, 2, 3, seed=1).to(DEVICE).requires_grad_()
    loss = semantic_focal_loss(logits, torch.full((batch, 3, 4), -100, device=DEVICE), upsample="bilinear")
    assert loss.item() == 0
    gradient = torch.autograd.grad(loss, logits)[0]
    assert gradient.shape == logits.shape
    assert not gradient.any()


@pytest.mark.usefixtures("small_blocks")
def test_graphs_of_every_kind() -> None:
    """A second backward pass, a second derivative, torch.func and torch.compile."""
    logits, target = (x[:1] for x in case((2, 2), (3, 3))[:2])

    def loss(x: Tensor) -> Tensor:
        return semantic_focal_loss(x, target, gamma=1.5, upsample="bilinear", reduction="sum")

    def textbook(x: Tensor) -> Tensor:
        return reference.values(x, target, None, options_of(1.5))[0].sum()

    target[target == 10**12] = -100
    leaf = logits.requires_grad_()
    direction = random(*leaf.shape, seed=7, low=-1).to(DEVICE)
    wanted = torch.autograd.grad(textbook(leaf), leaf, create_graph=True)[0]
    value = loss(leaf)
    for _ in range(2):
        ours = torch.autograd.grad(value, leaf, retain_graph=True)[0]
        torch.testing.assert_close(ours, wanted, rtol=1e-11, atol=1e-12)
    ours = torch.autograd.grad(value, leaf, create_graph=True)[0]
    torch.testing.assert_close(
        torch.autograd.grad((ours * direction).sum(), leaf)[0],
        torch.autograd.grad((wanted * direction).sum(), leaf)[0],
        rtol=1e-10, atol=1e-12,
    )  # fmt: skip
    wanted = wanted.detach()
    torch.testing.assert_close(torch.func.grad(loss)(logits.detach()), wanted, rtol=1e-11, atol=1e-12)
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    ours = torch.autograd.grad(compiled(leaf), leaf)[0]
    torch.testing.assert_close(ours, wanted, rtol=1e-11, atol=1e-12)


@pytest.mark.usefixtures("small_blocks")
def test_registration() -> None:
    """What the operators say of shapes and dtypes holds of the terms, too."""
    logits, scale = random(1, 2, 1, 1, seed=1).to(DEVICE), random(1, 1, seed=2).to(DEVICE)
    target, weight = torch.tensor([[[0, 1]]], device=DEVICE), random(2, seed=5).to(DEVICE)
    operators = torch.ops.depthattn
    terms, options = forward(logits, target, weight, options_of(2.0))[2], options_of(2.0)
    torch.library.opcheck(operators.semantic_focal_upsample.default, (logits, target, weight, *options, True, "triton"))
    torch.library.opcheck(
        operators.semantic_focal_upsample_backward.default,
        (scale, logits, target, weight, terms, *options, [True], "triton"),
    )
