"""The semantic focal loss on logits of another size than the labels, against resizing them first."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests import oracle
from tests.ops.cases import labels_for, random
from tests.ops.memory import peak_bytes
from tests.ops.threads import threads
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from depthattn import use_backend
from depthattn.functional import semantic_focal_loss

SIZES = [
    ((3, 4), (6, 8)),
    ((7, 5), (13, 4)),
    ((1, 1), (5, 6)),
    ((12, 9), (4, 3)),
    ((30, 2), (3, 41)),
    ((5, 6), (5, 13)),
    ((2, 3), (64, 96)),
    ((6, 7), (1, 1)),
]
CORNERS = pytest.mark.parametrize("corners", [False, True], ids=["centres", "corners"])
BOTH_SIZES = pytest.mark.parametrize(("small", "size"), SIZES, ids=["x".join(map(str, (*a, *b))) for a, b in SIZES])


def resized(logits: Tensor, size: tuple[int, ...], corners: bool = False) -> Tensor:
    return interpolate(logits, size, mode="bilinear", align_corners=corners)


def problem(small: tuple[int, int], size: tuple[int, int], batch: int = 2, classes: int = 5) -> tuple[Tensor, Tensor]:
    logits = random(batch, classes, *small, seed=1, low=-4, high=4)
    return logits.requires_grad_(), labels_for(batch, *size, classes=classes)


def assert_same(ours: Tensor, wanted: Tensor, logits: Tensor, rtol: float = 1e-10) -> None:
    torch.testing.assert_close(ours, wanted, rtol=rtol, atol=rtol / 100)
    cotangent = random(ours.numel(), seed=9).view(ours.shape).to(ours.dtype)
    (a,), (b,) = torch.autograd.grad(ours, logits, cotangent), torch.autograd.grad(wanted, logits, cotangent)
    torch.testing.assert_close(a, b, rtol=rtol, atol=rtol / 100)


@BOTH_SIZES
@CORNERS
@pytest.mark.parametrize("reduction", ["mean", "per_image", "sum", "none"])
def test_equals_resizing_first(small: tuple[int, int], size: tuple[int, int], reduction: str, corners: bool) -> None:
    logits, target = problem(small, size)
    options = {"weight": random(5, seed=2), "gamma": 1.5, "reduction": reduction, "normalize_by": "weight"}
    ours = semantic_focal_loss(logits, target, upsample="bilinear", align_corners=corners, **options)
    assert_same(ours, semantic_focal_loss(resized(logits, size, corners), target, **options), logits)


@pytest.mark.parametrize("backend", ["reference", "auto", pytest.param("triton", marks=pytest.mark.triton)])
def test_equals_cross_entropy_of_resized_logits(backend: str) -> None:
    logits, target = problem((7, 5), (13, 4))
    weight = random(5, seed=3).float()
    single = logits.detach().float().requires_grad_()
    with use_backend(backend):
        ours = semantic_focal_loss(single, target, weight=weight, gamma=0.0, normalize_by="weight", upsample="bilinear")
        assert_same(ours, cross_entropy(resized(single, (13, 4)), target, weight=weight), single, rtol=1e-5)


@BOTH_SIZES
def test_values_of_the_oracle(small: tuple[int, int], size: tuple[int, int]) -> None:
    logits, target = problem(small, size)
    full = oracle.resize(logits.detach().numpy(), size)
    values, valid, _ = oracle.semantic_focal(full, target.numpy())
    ours = semantic_focal_loss(logits, target, upsample="bilinear", reduction="per_image")
    wanted = np.atleast_1d(oracle.reduced(values, valid, "per_image"))
    torch.testing.assert_close(ours.detach(), torch.from_numpy(wanted), rtol=1e-10, atol=1e-14)


@CORNERS
@pytest.mark.parametrize(
    ("small", "size"), [((12, 16), (30, 64)), ((13, 17), (31, 65)), ((40, 33), (160, 200)), ((60, 90), (25, 130))]
)
def test_bands_and_stretches_do_not_show(small: tuple[int, int], size: tuple[int, int], corners: bool) -> None:
    """Bands of twelve rows of logits, stretches of 64 full-size columns; one, the next longer one, and several."""
    logits, target = problem(small, size, classes=3)
    ours = semantic_focal_loss(logits, target, upsample="bilinear", align_corners=corners, reduction="per_image")
    wanted = semantic_focal_loss(resized(logits, size, corners), target, reduction="per_image")
    assert_same(ours, wanted, logits)


@pytest.mark.native
def test_any_number_of_threads_gives_the_same_bits() -> None:
    logits, target = problem((40, 33), (160, 200), classes=3)
    leaf = logits.detach().float().requires_grad_()
    results = []
    for number in (1, 2):
        with threads(number):
            loss = semantic_focal_loss(leaf, target, upsample="bilinear")
            results.append((loss.detach(), *torch.autograd.grad(loss, leaf)))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.native
def test_many_classes() -> None:
    logits, target = problem((2, 3), (5, 7), classes=3000)
    ours = semantic_focal_loss(logits, target, upsample="bilinear", reduction="per_image")
    assert_same(ours, semantic_focal_loss(resized(logits, (5, 7)), target, reduction="per_image"), logits)


@CORNERS
def test_the_corners_of_the_oracle(corners: bool) -> None:
    """One row of two logits at three labels: on the corner grid the middle one lies half way, else as well."""
    logits = torch.tensor([[[[0.0, 4.0]], [[0.0, 0.0]]]], dtype=torch.float64)
    target = torch.zeros(1, 1, 4, dtype=torch.int64)
    loss = semantic_focal_loss(logits, target, gamma=0.0, upsample="bilinear", align_corners=corners, reduction="none")
    z = [0, 4 / 3, 8 / 3, 4] if corners else [0, 1, 3, 4]
    wanted = torch.tensor([[[math.log1p(math.exp(-x)) for x in z]]], dtype=torch.float64)
    torch.testing.assert_close(loss, wanted)
    total = semantic_focal_loss(logits, target, gamma=0.0, upsample="bilinear", align_corners=corners)
    torch.testing.assert_close(total, wanted.mean())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
@BOTH_SIZES
def test_half_precision_rounds_once(small: tuple[int, int], size: tuple[int, int], dtype: torch.dtype) -> None:
    logits, target = problem(small, size)
    half = logits.detach().to(dtype).requires_grad_()
    (ours,) = torch.autograd.grad(semantic_focal_loss(half, target, upsample="bilinear", reduction="sum"), half)
    exact = half.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(semantic_focal_loss(exact, target, upsample="bilinear", reduction="sum"), exact)
    error = (ours.double() - wanted).abs()
    assert (error <= torch.finfo(dtype).eps / 2 * wanted.abs() + 2e-6 * wanted.abs().max()).all()


def test_labels_that_do_not_count_have_no_effect() -> None:
    """Logits that only ignored pixels read may be anything, and get exactly no gradient."""
    logits, target = problem((4, 4), (8, 8))
    target[:, :, 4:] = -100
    spoiled = logits.detach().clone()
    spoiled[..., 3] = math.nan
    results = []
    for values in (logits.detach(), spoiled):
        leaf = values.clone().requires_grad_()
        loss = semantic_focal_loss(leaf, target, upsample="bilinear", reduction="per_image")
        results.append((loss.detach(), *torch.autograd.grad(loss.sum(), leaf)))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)
    assert not results[1][1][..., 3].any()
    assert results[1][1][..., 2].any()


@pytest.mark.parametrize("batch", [0, 2])
@pytest.mark.parametrize("reduction", ["mean", "per_image", "sum", "none"])
def test_nothing_labelled(batch: int, reduction: str) -> None:
    logits = random(batch, 3, 4, 5, seed=1).requires_grad_()
    target = torch.full((batch, 7, 9), -100)
    loss = semantic_focal_loss(logits, target, upsample="bilinear", reduction=reduction)
    assert loss.shape == {"per_image": (batch,), "none": (batch, 7, 9)}.get(reduction, ())
    assert not loss.any()
    assert not torch.autograd.grad(loss.sum(), logits)[0].any()


def test_a_nan_that_counts_shows() -> None:
    logits, target = problem((3, 3), (6, 6))
    with torch.no_grad():
        logits[0, 1, 1, 1] = math.nan
    loss = semantic_focal_loss(logits, target, upsample="bilinear", reduction="per_image")
    assert loss[0].isnan()
    assert loss[1].isfinite()


def test_the_kept_and_the_recomputed_gradient_are_the_same_bits() -> None:
    logits, target = problem((7, 5), (23, 18))
    single = logits.detach().float().requires_grad_()
    loss = semantic_focal_loss(single, target, upsample="bilinear")
    kept, again = (torch.autograd.grad(loss, single, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(kept, again)


@pytest.mark.parametrize("layout", ["channels_last", "sliced", "expanded"])
def test_strides_give_the_same_numbers(layout: str) -> None:
    logits, target = problem((4, 5), (9, 7))
    strided = {
        "channels_last": logits.contiguous(memory_format=torch.channels_last),
        "sliced": torch.stack((logits, logits), 4)[..., 0],
        "expanded": logits[:1].expand(2, -1, -1, -1),
    }[layout].detach()
    results = []
    for values in (strided, strided.contiguous()):
        leaf = values.requires_grad_()
        loss = semantic_focal_loss(leaf, target.expand(2, -1, -1), upsample="bilinear")
        results.append((loss.detach(), *torch.autograd.grad(loss, leaf)))
    for a, b in zip(*results, strict=True):
        assert torch.equal(a, b)


@pytest.mark.usefixtures("poisoned_memory")
def test_nothing_is_read_before_it_is_written() -> None:
    logits, target = problem((7, 5), (13, 4))
    ours = semantic_focal_loss(logits, target, upsample="bilinear", reduction="per_image")
    assert_same(ours, semantic_focal_loss(resized(logits, (13, 4)), target, reduction="per_image"), logits)


@pytest.mark.native
def test_memory_is_a_tenth_of_that_of_resizing_first() -> None:
    logits, target = random(1, 40, 60, 80, seed=1).float().requires_grad_(), labels_for(1, 240, 320, classes=40)

    def ours() -> Tensor:
        return torch.autograd.grad(semantic_focal_loss(logits, target, upsample="bilinear"), logits)[0]

    def first() -> Tensor:
        return torch.autograd.grad(cross_entropy(resized(logits, (240, 320)), target), logits)[0]

    assert peak_bytes(ours) <= 0.1 * peak_bytes(first)
