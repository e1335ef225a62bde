"""The up-skip's tensor code: sizes up and down, tiles of any cut, dtypes, layouts, and values that are not finite."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from depthattn import functional as F
from depthattn import use_backend
from depthattn.ops.semi_dense_up_skip import eager

SHAPES = [
    ([(1, 1)], (1, 1)),
    ([(1, 1), (2, 3)], (5, 7)),
    ([(3, 5)], (3, 5)),
    ([(3, 5), (3, 5)], (3, 5)),
    ([(4, 6), (8, 12), (16, 24)], (16, 24)),
    ([(7, 10), (15, 20)], (29, 41)),
    ([(11, 3), (16, 9)], (4, 13)),
    ([(20, 30)], (1, 1)),
    ([(6, 14), (12, 14)], (12, 9)),
]
BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6}


@pytest.fixture(params=["default tiles", "tiny tiles"])
def _tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny tiles cut even one small channel into spans of rows."""
    if request.param == "tiny tiles":
        monkeypatch.setattr(eager, "tile_elements", lambda like, buffers: 20)


def textbook(features: list[Tensor], size: tuple[int, int], mode: str) -> Tensor:
    if mode == "nearest":
        return torch.stack([interpolate(x, size, mode="nearest-exact") for x in features]).sum(0)
    return torch.stack([interpolate(x, size, mode="bilinear", align_corners=False) for x in features]).sum(0)


def pyramid(shapes: list[tuple[int, int]], dtype: torch.dtype, leading: tuple[int, int] = (2, 3)) -> list[Tensor]:
    return [torch.randn(*leading, *shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


@pytest.mark.usefixtures("_tiles", "poisoned_memory")
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("shapes", "size"), SHAPES)
def test_values_and_gradients_are_those_of_interpolate(
    shapes: list[tuple[int, int]], size: tuple[int, int], dtype: torch.dtype, mode: str
) -> None:
    features = pyramid(shapes, dtype)
    exact = [x.detach().double().requires_grad_() for x in features]
    out, wanted = F.semi_dense_up_skip(features, size, mode=mode), textbook(exact, size, mode)
    weights = torch.randn_like(out)
    grads = torch.autograd.grad(out, features, weights)
    wanted_grads = torch.autograd.grad(wanted, exact, weights.double())
    for ours, theirs in zip((out, *grads), (wanted, *wanted_grads), strict=True):
        error = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert error <= BOUNDS[dtype]
        assert ours.is_contiguous()


@pytest.mark.usefixtures("_tiles")
def test_random_sizes() -> None:
    generator = random.Random(0)
    for _ in range(60):
        shapes = [(generator.randint(1, 20), generator.randint(1, 20)) for _ in range(generator.randint(1, 4))]
        size = generator.randint(1, 25), generator.randint(1, 25)
        features = pyramid(shapes, torch.float64)
        out, wanted = F.semi_dense_up_skip(features, size), textbook(features, size, "bilinear")
        torch.testing.assert_close(out, wanted)
        weights = torch.randn_like(out)
        ours, theirs = (torch.autograd.grad(y, features, weights) for y in (out, wanted))
        torch.testing.assert_close(ours, theirs)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_gradcheck_without_nondeterminism(mode: str) -> None:
    features = pyramid([(2, 3), (5, 4), (4, 6)], torch.float64, (1, 2))

    def merge(*features: Tensor) -> Tensor:
        return F.semi_dense_up_skip(features, (4, 6), mode=mode)

    assert torch.autograd.gradcheck(merge, features, nondet_tol=0.0)
    assert torch.autograd.gradgradcheck(merge, features, nondet_tol=0.0)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    features = pyramid([(5, 7), (9, 4), (12, 15)], dtype)
    wide = [x.detach().float().requires_grad_() for x in features]
    out, wanted = (F.semi_dense_up_skip(x, (12, 15)) for x in (features, wide))
    assert torch.equal(out, wanted.to(dtype))
    weights = torch.randn_like(out)
    grads = torch.autograd.grad(out, features, weights)
    wanted_grads = torch.autograd.grad(wanted, wide, weights.float())
    for ours, theirs in zip(grads, wanted_grads, strict=True):
        assert torch.equal(ours, theirs.to(dtype))


def test_the_cut_into_tiles_changes_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    features = pyramid([(3, 4), (7, 9), (20, 18)], torch.float64)
    weights = torch.randn(2, 3, 12, 18, dtype=torch.float64)
    results = []
    for elements in (1 << 20, 900, 33):
        monkeypatch.setattr(eager, "tile_elements", lambda like, buffers, elements=elements: elements)
        out = F.semi_dense_up_skip(features, (12, 18))
        results.append((out.detach(), *torch.autograd.grad(out, features, weights)))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_lowered_matmul_precision_does_not_reach_it(precision: str) -> None:
    features = pyramid([(30, 40), (60, 80)], torch.float32)
    weights = torch.randn(2, 3, 120, 160)

    def run() -> tuple[Tensor, ...]:
        out = F.semi_dense_up_skip(features, (120, 160))
        return out, *torch.autograd.grad(out, features, weights)

    wanted = run()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert all(torch.equal(a, b) for a, b in zip(run(), wanted, strict=True))
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("layout", ["channels_last", "permuted", "sliced", "expanded"])
def test_layouts_of_features_and_of_the_incoming_gradient(layout: str) -> None:
    def laid_out(x: Tensor) -> Tensor:
        if layout == "channels_last":
            return x.contiguous(memory_format=torch.channels_last)
        if layout == "permuted":
            return x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
        if layout == "sliced":
            return torch.stack((x, x.new_full(x.shape, torch.nan)), -1).flatten(3)[..., ::2]
        return x[:, :1, :1, :].expand(x.shape)

    plain = [laid_out(x.detach()).contiguous() for x in pyramid([(4, 5), (8, 10)], torch.float64)]
    strided = [laid_out(x).requires_grad_() for x in plain]
    weights = torch.randn(2, 3, 8, 10, dtype=torch.float64)
    out = F.semi_dense_up_skip(strided, (8, 10))
    torch.testing.assert_close(out, textbook(plain, (8, 10), "bilinear"))
    grads = torch.autograd.grad(out, strided, laid_out(weights))
    dense = [x.requires_grad_() for x in plain]
    wanted = torch.autograd.grad(textbook(dense, (8, 10), "bilinear"), dense, laid_out(weights).contiguous())
    torch.testing.assert_close(grads, wanted)


def test_by_the_name_inductor_it_is_the_same_code() -> None:
    features = pyramid([(4, 5), (8, 10)], torch.float32)
    with use_backend("inductor"):
        named = F.semi_dense_up_skip(features, (8, 10))
        grads = torch.autograd.grad(named.square().sum(), features)
    wanted = F.semi_dense_up_skip(features, (8, 10))
    assert torch.equal(named, wanted)
    for a, b in zip(grads, torch.autograd.grad(wanted.square().sum(), features), strict=True):
        assert torch.equal(a, b)


def test_constants_stay_constant_and_the_adjoint_keeps_the_sum() -> None:
    features = [torch.full((1, 2, h, w), 3.0, requires_grad=True) for h, w in [(3, 5), (7, 4), (30, 50)]]
    out = F.semi_dense_up_skip(features, (13, 17))
    torch.testing.assert_close(out, torch.full((1, 2, 13, 17), 9.0))
    weights = torch.rand(1, 2, 13, 17)
    for grad in torch.autograd.grad(out, features, weights):
        torch.testing.assert_close(grad.sum((2, 3)), weights.sum((2, 3)))


def test_an_infinity_stays_where_interpolate_leaves_it() -> None:
    feature = torch.zeros(1, 1, 6, 6)
    feature[0, 0, 4, 1] = torch.inf
    out, wanted = F.semi_dense_up_skip([feature], (12, 12)), textbook([feature], (12, 12), "bilinear")
    assert torch.equal(out.isfinite(), wanted.isfinite())
    same = F.semi_dense_up_skip([feature, torch.ones(1, 1, 6, 6)], (6, 6))
    assert torch.equal(same, feature + 1)


def test_an_empty_batch() -> None:
    features = [torch.zeros(0, 3, 4, 5, requires_grad=True), torch.zeros(0, 3, 8, 9, requires_grad=True)]
    out = F.semi_dense_up_skip(features, (8, 9))
    assert out.shape == (0, 3, 8, 9)
    assert [g.shape for g in torch.autograd.grad(out.sum(), features)] == [x.shape for x in features]


def test_only_sizes_are_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []
    features = pyramid([(4, 5), (8, 10)], torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        F.semi_dense_up_skip(features, (16, 20))
    assert kept == []
