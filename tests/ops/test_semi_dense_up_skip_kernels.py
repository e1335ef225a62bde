"""The up-skip in C++: sizes up and down, grids, dtypes, layouts, threads, and values that are not finite."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from depthattn.ops import native
from depthattn.ops.semi_dense_up_skip import merged

pytestmark = pytest.mark.skipif(isinstance(native.load(), str), reason="no C++ kernels")

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
    ([(2, 2), (30, 300)], (200, 300)),
]
BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
GRIDS = pytest.mark.parametrize(
    ("mode", "align_corners"),
    [("nearest", False), ("bilinear", False), ("bilinear", True)],
    ids=["nearest", "centres", "corners"],
)


def textbook(features: list[Tensor], size: tuple[int, int], mode: str, align_corners: bool) -> Tensor:
    if mode == "nearest":
        return torch.stack([interpolate(x, size, mode="nearest-exact") for x in features]).sum(0)
    return torch.stack([interpolate(x, size, mode="bilinear", align_corners=align_corners) for x in features]).sum(0)


def pyramid(shapes: list[tuple[int, int]], dtype: torch.dtype, leading: tuple[int, int] = (2, 3)) -> list[Tensor]:
    return [torch.randn(*leading, *shape, dtype=torch.float64).to(dtype).requires_grad_() for shape in shapes]


def check(features: list[Tensor], size: tuple[int, int], mode: str, align_corners: bool, weights: Tensor) -> None:
    exact = [x.detach().double().requires_grad_() for x in features]
    out, wanted = merged(features, size, mode, align_corners, "cpu"), textbook(exact, size, mode, align_corners)
    grads = torch.autograd.grad(out, features, weights)
    wanted_grads = torch.autograd.grad(wanted, exact, weights.double())
    for ours, theirs in zip((out, *grads), (wanted, *wanted_grads), strict=True):
        error = (ours.double() - theirs).abs().max() / theirs.abs().max()
        assert error <= BOUNDS[out.dtype]
        assert ours.is_contiguous()


@GRIDS
@pytest.mark.usefixtures("poisoned_memory")
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize(("shapes", "size"), SHAPES)
def test_values_and_gradients_are_those_of_interpolate(
    shapes: list[tuple[int, int]], size: tuple[int, int], dtype: torch.dtype, mode: str, align_corners: bool
) -> None:
    check(pyramid(shapes, dtype), size, mode, align_corners, torch.randn(2, 3, *size).to(dtype))


@GRIDS
def test_random_sizes(mode: str, align_corners: bool) -> None:
    generator = random.Random(0)
    for _ in range(60):
        shapes = [(generator.randint(1, 20), generator.randint(1, 20)) for _ in range(generator.randint(1, 4))]
        size = generator.randint(1, 25), generator.randint(1, 25)
        check(pyramid(shapes, torch.float64), size, mode, align_corners, torch.randn(2, 3, *size, dtype=torch.float64))


def test_nearest_falls_to_the_side_of_torch_where_a_centre_lies_between_two_pixels() -> None:
    for source in range(1, 60):
        for target in range(1, 60):
            feature = torch.arange(float(source)).view(1, 1, 1, source)
            ours = merged([feature], (1, target), "nearest", False, "cpu")
            assert torch.equal(ours, interpolate(feature, (1, target), mode="nearest-exact")), (source, target)


@GRIDS
def test_gradcheck_without_nondeterminism(mode: str, align_corners: bool) -> None:
    features = pyramid([(2, 3), (5, 4), (4, 6)], torch.float64, (1, 2))

    def merge(*features: Tensor) -> Tensor:
        return merged(list(features), (4, 6), mode, align_corners, "cpu")

    assert torch.autograd.gradcheck(merge, features, nondet_tol=0.0)
    assert torch.autograd.gradgradcheck(merge, features, nondet_tol=0.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    features = pyramid([(5, 7), (9, 4), (12, 15)], dtype)
    wide = [x.detach().float().requires_grad_() for x in features]
    out, wanted = (merged(x, (12, 15), "bilinear", False, "cpu") for x in (features, wide))
    assert torch.equal(out, wanted.to(dtype))
    weights = torch.randn_like(out)
    grads = torch.autograd.grad(out, features, weights)
    wanted_grads = torch.autograd.grad(wanted, wide, weights.float())
    for ours, theirs in zip(grads, wanted_grads, strict=True):
        assert torch.equal(ours, theirs.to(dtype))


def test_any_number_of_threads_gives_the_same_bits() -> None:
    features = pyramid([(3, 4), (70, 90), (200, 180)], torch.float32, (1, 2))
    weights = torch.randn(1, 2, 200, 180)
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        out = merged(features, (200, 180), "bilinear", False, "cpu")
        results.append((out, *torch.autograd.grad(out, features, weights)))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@GRIDS
@pytest.mark.parametrize("layout", ["channels_last", "permuted", "sliced", "expanded"])
def test_layouts_of_features_and_of_the_incoming_gradient(layout: str, mode: str, align_corners: bool) -> None:
    def laid_out(x: Tensor) -> Tensor:
        if layout == "channels_last":
            return x.contiguous(memory_format=torch.channels_last)
        if layout == "permuted":
            return x.permute(3, 1, 0, 2).contiguous().permute(2, 1, 3, 0)
        if layout == "sliced":
            return torch.stack((x, x.new_full(x.shape, torch.nan)), -1).flatten(3)[..., ::2]
        return x[:, :1, :1, :].expand(x.shape)

    features = [laid_out(x.detach()).requires_grad_() for x in pyramid([(4, 5), (8, 10)], torch.float64)]
    check(features, (8, 10), mode, align_corners, laid_out(torch.randn(2, 3, 8, 10, dtype=torch.float64)))


def test_an_infinity_stays_where_interpolate_leaves_it() -> None:
    feature = torch.zeros(1, 1, 6, 6)
    feature[0, 0, 4, 1] = torch.inf
    out = merged([feature], (12, 12), "bilinear", False, "cpu")
    assert torch.equal(out.isfinite(), textbook([feature], (12, 12), "bilinear", False).isfinite())
    same = merged([feature, torch.ones(1, 1, 6, 6)], (6, 6), "bilinear", False, "cpu")
    assert torch.equal(same, feature + 1)
    nearest = merged([feature], (12, 12), "nearest", False, "cpu")
    assert torch.equal(nearest, textbook([feature], (12, 12), "nearest", False))


def test_an_empty_batch() -> None:
    features = [torch.zeros(0, 3, 4, 5, requires_grad=True), torch.zeros(0, 3, 8, 9, requires_grad=True)]
    out = merged(features, (8, 9), "bilinear", False, "cpu")
    assert out.shape == (0, 3, 8, 9)
    assert [g.shape for g in torch.autograd.grad(out.sum(), features)] == [x.shape for x in features]


def test_only_sizes_are_kept_for_the_backward_pass() -> None:
    kept: list[Tensor] = []
    features = pyramid([(4, 5), (8, 10)], torch.float32)
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        merged(features, (16, 20), "bilinear", False, "cpu")
    assert kept == []


@pytest.mark.parametrize("compile_with", [None, "inductor"])
def test_one_tensor_may_be_several_levels(compile_with: str | None) -> None:
    x, other = pyramid([(2, 3), (5, 4)], torch.float64)
    weights = torch.randn(2, 3, 6, 7, dtype=torch.float64)

    def step(x: Tensor, other: Tensor) -> Tensor:
        return (merged([x, other, x], (6, 7), "bilinear", False, "cpu") * weights).sum()

    wanted = torch.autograd.grad((textbook([x, other, x], (6, 7), "bilinear", False) * weights).sum(), (x, other))
    torch._dynamo.reset()
    run = step if compile_with is None else torch.compile(step, fullgraph=True, backend=compile_with, dynamic=True)
    torch.testing.assert_close(torch.autograd.grad(run(x, other), (x, other)), wanted)
