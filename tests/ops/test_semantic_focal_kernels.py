"""What the tiled and the compiled semantic focal loss owe beyond the contract of every operation."""

from __future__ import annotations

import math

import pytest
import torch
from tests import oracle
from tests.ops.cases import labels_for, random
from torch import Tensor
from torch._inductor.utils import fresh_inductor_cache
from torch.nn.functional import cross_entropy

from depthattn import use_backend
from depthattn.functional import semantic_focal_loss
from depthattn.ops.compiled import Compiled
from depthattn.ops.semantic_focal import inductor, reference, tiled

GAMMAS = pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 5.0])


def exact(logits: Tensor, target: Tensor, gamma: float, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Sum and gradient of the formula in float64."""
    wide = logits.detach().double().requires_grad_()
    flat, own = wide.flatten(2), None if weight is None else weight.double()
    total = reference.per_pixel(flat, target.flatten(1), own, gamma, -100).sum()
    return total.detach(), torch.autograd.grad(total, wide)[0]


def ours(logits: Tensor, target: Tensor, gamma: float, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    leaf = logits.detach().requires_grad_()
    total = semantic_focal_loss(leaf, target, weight=weight, gamma=gamma, reduction="sum")
    return total.detach(), torch.autograd.grad(total, leaf)[0]


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.double() - b).norm() / b.norm())


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of at most 60 elements: spans inside an image, with a shorter one at its end."""
    monkeypatch.setattr(tiled, "_tile_elements", lambda logits, per_thread: 60)


@pytest.mark.usefixtures("small_tiles")
@GAMMAS
@pytest.mark.parametrize("weighted", [False, True])
def test_tiles_do_not_show(gamma: float, weighted: bool) -> None:
    logits, target = random(3, 5, 7, 9, seed=1, low=-4, high=4), labels_for(3, 7, 9, classes=5)
    weight = random(5, seed=2) if weighted else None
    if weight is not None:
        weight[1] = 0.0
    value, gradient = ours(logits, target, gamma, weight)
    values, _, _ = oracle.semantic_focal(
        logits.numpy(), target.numpy(), None if weight is None else weight.numpy(), gamma
    )
    assert float(value) == pytest.approx(values.sum(), rel=1e-12)
    torch.testing.assert_close(gradient, exact(logits, target, gamma, weight)[1], rtol=1e-10, atol=1e-13)


@pytest.mark.usefixtures("small_tiles")
def test_tiles_of_several_small_images() -> None:
    logits, target = random(11, 4, 3, seed=1, low=-4, high=4), labels_for(11, 3, classes=4)
    value = semantic_focal_loss(logits, target, reduction="per_image")
    values, valid, _ = oracle.semantic_focal(logits.numpy(), target.numpy())
    wanted = oracle.reduced(values, valid, "per_image")
    torch.testing.assert_close(value, torch.from_numpy(wanted), rtol=1e-12, atol=1e-15)


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
@pytest.mark.parametrize("classes", [1, 2, 1000])
def test_few_and_many_classes(gamma: float, classes: int) -> None:
    logits, target = random(2, classes, 6, seed=3, low=-3, high=3).float(), labels_for(2, 6, classes=classes)
    value, gradient = ours(logits, target, gamma)
    if classes == 1:
        assert value.item() == 0.0
        assert not gradient.any()
        return
    wanted_value, wanted_gradient = exact(logits, target, gamma)
    assert distance(value, wanted_value) < 2e-6
    assert distance(gradient, wanted_gradient) < 2e-6


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


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int8, torch.int16, torch.int32])
def test_label_dtypes(dtype: torch.dtype) -> None:
    logits, target = random(2, 120, 10, seed=7, low=-3, high=3), labels_for(2, 10, classes=120)
    ignored = 127 if dtype in (torch.uint8, torch.int8) else -100
    narrow = torch.where(target == -100, ignored, target).to(dtype)
    wanted = semantic_focal_loss(logits, target)
    assert torch.equal(semantic_focal_loss(logits, narrow, ignore_index=ignored), wanted)


def test_unsigned_labels_do_not_wrap_onto_the_ignored_one() -> None:
    """-100 is 156 modulo 256, which uint8 labels may well name."""
    logits, target = random(1, 200, 4, seed=8), torch.tensor([[156, 3, 199, 0]])
    wanted = semantic_focal_loss(logits, target)
    assert torch.equal(semantic_focal_loss(logits, target.to(torch.uint8)), wanted)


@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_equals_cross_entropy(backend: str, axes: int) -> None:
    shape = (4, 5, 6)[:axes]
    logits = random(8, 7, *shape, seed=9, low=-3, high=3).float().requires_grad_()
    target, weight = labels_for(8, *shape, classes=7), random(7, seed=10).float()
    with use_backend(backend):
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


def test_the_compiled_tile_meets_new_sizes_without_compiling() -> None:
    def both(size: int) -> list[tuple[Tensor, Tensor]]:
        logits, target = random(2, 5, size, seed=13, low=-4, high=4).float(), labels_for(2, size, classes=5)
        results = [ours(logits, target, 2.0)]
        with use_backend("inductor"):
            results.append(ours(logits, target, 2.0))
        return results

    both(70)
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    for size in (33, 150, 1000):
        (value, gradient), (compiled_value, compiled_gradient) = both(size)
        torch.testing.assert_close(compiled_value, value)
        torch.testing.assert_close(compiled_gradient, gradient)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == before


def test_the_compiled_tile_at_the_edges() -> None:
    """Ignored pixels with NaN and inf, saturated ones, masked-out classes: as the eager tile has them."""
    logits = torch.zeros(1, 5, 40)
    logits[0, :, 0], logits[0, 1, 1], logits[0, 2, 2] = math.nan, math.inf, -math.inf
    logits[0, 0, 3], logits[0, 0, 4], logits[0, 3, 5:] = 300.0, -1e4, -math.inf
    target = torch.zeros(1, 40, dtype=torch.int64)
    target[0, :3] = -100
    value, gradient = ours(logits, target, 2.0)
    with use_backend("inductor"):
        compiled_value, compiled_gradient = ours(logits, target, 2.0)
    assert not compiled_gradient[..., :3].any()
    torch.testing.assert_close(compiled_value, value)
    torch.testing.assert_close(compiled_gradient, gradient)


def test_code_kept_on_disk_for_one_gamma_serves_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in two processes, one after the other: what was compiled is forgotten here, but not on disk."""
    logits, target = random(2, 5, 40, seed=1, low=-4, high=4), labels_for(2, 40, classes=5)
    with fresh_inductor_cache(), use_backend("inductor"):
        for gamma in (2.0, 0.0):
            torch.compiler.reset()
            monkeypatch.setattr(inductor, "_compiled_tile", Compiled(inductor._tile))
            value = semantic_focal_loss(logits, target, gamma=gamma, reduction="sum")
            torch.testing.assert_close(value, exact(logits, target, gamma)[0])
