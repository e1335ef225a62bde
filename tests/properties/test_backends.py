"""In every dtype and on every backend: as near to the formula in float64 as storage and arithmetic allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.properties.search import DepthMaps, depth_maps, fewer, gammas, searching, seeds, sides, uniform
from torch import Tensor

from depthattn import functional as F
from depthattn import use_backend
from depthattn.ops.depth_aware import reference as depth_aware
from depthattn.ops.joint_gradient import reference as joint_gradient
from depthattn.ops.lateral_sharing import reference as lateral_sharing
from depthattn.ops.masking import image_maximum
from depthattn.ops.semantic_focal import reference as semantic_focal
from depthattn.ops.semi_dense_up_skip import reference as semi_dense_up_skip

# The interpreter computes with NumPy, also what a mask then leaves out.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

Function = Callable[..., Tensor]

# Triton's interpreter cuts bfloat16 off where a GPU rounds, and takes a hundred times as long as tensor code. Compiling
# takes seconds, so that inductor is searched at one size and only where hypothesis searches for long.
FAST = st.tuples(st.just("eager"), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
SLOW = st.tuples(st.just("triton"), st.sampled_from([torch.float32, torch.float16]))
LONG = settings.default.max_examples >= 1000
compiled = pytest.mark.skipif(not LONG, reason="in make fuzz: compiling takes seconds")

Run = tuple[str, torch.dtype]


def agree(
    run: Run,
    ours: Function,
    formula: Function,
    inputs: Sequence[Tensor],
    cotangent_seed: int,
    multilinear: bool = False,
) -> None:
    """Values and gradients within the rounding of the arithmetic, in float32, and of the storage.

    What is ``multilinear`` in its inputs is a sum of products, as are its gradients: their rounding is that of the sum
    of the products' sizes, whatever they leave of each other.
    """
    backend, dtype = run
    stored = [x.to(dtype) for x in inputs]
    leaves = [x.clone().requires_grad_() for x in stored]
    with use_backend(backend):
        value = ours(*leaves)
        cotangent = uniform(cotangent_seed, *value.shape, low=0.25).bfloat16()
        slopes = torch.autograd.grad(value, leaves, cotangent.to(value.dtype))
    wanted = _with_gradients(formula, stored, cotangent)
    sizes = _with_gradients(formula, [x.abs() for x in stored], cotangent) if multilinear else wanted
    for a, b, size in zip((value, *slopes), wanted, sizes, strict=True):
        kind = torch.finfo(a.dtype)
        bound = 64 * torch.finfo(torch.float32).eps + (kind.eps if a.dtype != torch.float32 else 0)
        largest = float(size.abs().max()) if b.numel() else 0.0
        # The smallest number that the dtype has above 0 is the spacing of the small ones.
        atol = bound * largest + kind.smallest_normal * kind.eps
        torch.testing.assert_close(a.detach().double(), b, rtol=bound, atol=atol)


def _with_gradients(formula: Function, inputs: Sequence[Tensor], cotangent: Tensor) -> list[Tensor]:
    exact = [x.double().requires_grad_() for x in inputs]
    value = formula(*exact)
    return [value.detach(), *torch.autograd.grad(value, exact, cotangent.double())]


def _depth_aware(run: Run, maps: DepthMaps, distance: str, log_offset: float, seed: int) -> None:
    target = maps.target.to(run[1])
    options = distance, 1.0, log_offset, False

    def ours(pred: Tensor) -> Tensor:
        return F.depth_aware_loss(
            pred, target, mask=maps.mask, distance=distance, log_offset=log_offset, reduction="per_image"
        )

    def formula(pred: Tensor) -> Tensor:
        wide = target.double()
        values = depth_aware.per_pixel(pred, wide, maps.mask, image_maximum(wide, maps.mask), *options)
        return values.sum((1, 2)) / maps.valid.sum((1, 2)).clamp(min=1)

    agree(run, ours, formula, [maps.pred], seed)


def _joint_gradient(run: Run, maps: DepthMaps, semantic: bool, seed: int) -> None:
    target = maps.target.to(run[1])
    semantics = [uniform(seed, *target.shape, high=9)] if semantic else []
    # Junk where the target has holes, which this term does not know of.
    semantics = [x.masked_fill(~(maps.pred.abs() < 1e4), torch.nan) for x in semantics]

    def ours(pred: Tensor, *more: Tensor) -> Tensor:
        return F.joint_gradient_loss(pred, target, *more, mask=maps.mask, reduction="per_image")

    def formula(pred: Tensor, *more: Tensor) -> Tensor:
        terms = [joint_gradient.depth_term(pred, target.double(), maps.mask)]
        terms += [joint_gradient.semantic_term(pred, x, -100) for x in more]
        return sum((v.sum((1, 2)) / w.sum((1, 2)).clamp(min=1) for v, w in terms), pred.new_zeros(len(pred)))

    agree(run, ours, formula, [maps.pred, *semantics], seed)


def _semantic_focal(run: Run, classes: int, size: tuple[int, int], gamma: float, seed: int) -> None:
    logits = uniform(seed, 2, classes, *size, low=-6, high=6)
    target = (uniform(seed + 1, 2, *size) * (classes + 1)).long() - 1

    def ours(logits: Tensor) -> Tensor:
        return F.semantic_focal_loss(logits, target, gamma=gamma, ignore_index=-1, reduction="per_image")

    def formula(logits: Tensor) -> Tensor:
        values = semantic_focal.per_pixel(logits.flatten(2), target.flatten(1), None, gamma, -1)
        return values.sum(1) / (target >= 0).sum((1, 2)).clamp(min=1)

    agree(run, ours, formula, [logits], seed)


def _lateral_sharing(run: Run, tasks: int, per_channel: bool, size: tuple[int, int], seed: int) -> None:
    gates = uniform(seed, tasks, tasks, *([3] if per_channel else []), low=-1)
    features = [uniform(seed + 1 + t, 2, 3, *size, low=-1) for t in range(tasks)]
    agree(
        run,
        lambda gates, *features: torch.stack(F.lateral_sharing(features, gates)),
        lambda gates, *features: torch.stack(lateral_sharing.share(list(features), gates)),
        [gates, *features],
        seed,
        multilinear=True,
    )


def _up_skip(run: Run, sizes: list[tuple[int, int]], size: tuple[int, int], mode: str, seed: int) -> None:
    agree(
        run,
        lambda *maps: F.semi_dense_up_skip(maps, size, mode=mode),
        lambda *maps: semi_dense_up_skip.merge(list(maps), size, mode),
        [uniform(seed + j, 2, 2, *each, low=-1) for j, each in enumerate(sizes)],
        seed,
        multilinear=True,
    )


distances, offsets = st.sampled_from(["l1", "l2", "smooth_l1"]), st.sampled_from([0.0, 1.0])
size_of_maps = st.tuples(sides, sides)
pyramid_sizes = st.lists(size_of_maps, min_size=1, max_size=3)
modes = st.sampled_from(["bilinear", "nearest"])


@given(FAST, depth_maps(extremes=False), distances, offsets, seeds)
@searching("depth_aware_loss")
def test_depth_aware_in_every_dtype(run: Run, maps: DepthMaps, distance: str, log_offset: float, seed: int) -> None:
    _depth_aware(run, maps, distance, log_offset, seed)


@pytest.mark.triton
@fewer(20)
@given(SLOW, depth_maps(extremes=False), distances, offsets, seeds)
@searching("depth_aware_loss, triton")
def test_depth_aware_by_triton(run: Run, maps: DepthMaps, distance: str, log_offset: float, seed: int) -> None:
    _depth_aware(run, maps, distance, log_offset, seed)


@given(FAST, depth_maps(smallest=3, extremes=False), st.booleans(), seeds)
@searching("joint_gradient_loss")
def test_joint_gradient_in_every_dtype(run: Run, maps: DepthMaps, semantic: bool, seed: int) -> None:
    _joint_gradient(run, maps, semantic, seed)


@pytest.mark.triton
@fewer(100)
@given(SLOW, depth_maps(smallest=3, extremes=False), st.booleans(), seeds)
@searching("joint_gradient_loss, triton")
def test_joint_gradient_by_triton(run: Run, maps: DepthMaps, semantic: bool, seed: int) -> None:
    _joint_gradient(run, maps, semantic, seed)


@given(FAST, st.integers(1, 7), size_of_maps, gammas, seeds)
@searching("semantic_focal_loss")
def test_semantic_focal_in_every_dtype(run: Run, classes: int, size: tuple[int, int], gamma: float, seed: int) -> None:
    _semantic_focal(run, classes, size, gamma, seed)


@pytest.mark.triton
@fewer(20)
@given(SLOW, st.integers(1, 7), size_of_maps, gammas, seeds)
@searching("semantic_focal_loss, triton")
def test_semantic_focal_by_triton(run: Run, classes: int, size: tuple[int, int], gamma: float, seed: int) -> None:
    _semantic_focal(run, classes, size, gamma, seed)


@given(FAST, st.integers(1, 4), st.booleans(), size_of_maps, seeds)
@searching("lateral_sharing")
def test_lateral_sharing_in_every_dtype(
    run: Run, tasks: int, per_channel: bool, size: tuple[int, int], seed: int
) -> None:
    _lateral_sharing(run, tasks, per_channel, size, seed)


@pytest.mark.triton
@fewer(20)
@given(SLOW, st.integers(1, 4), st.booleans(), size_of_maps, seeds)
@searching("lateral_sharing, triton")
def test_lateral_sharing_by_triton(run: Run, tasks: int, per_channel: bool, size: tuple[int, int], seed: int) -> None:
    _lateral_sharing(run, tasks, per_channel, size, seed)


@given(FAST, pyramid_sizes, size_of_maps, modes, seeds)
@searching("semi_dense_up_skip")
def test_the_up_skip_in_every_dtype(
    run: Run, sizes: list[tuple[int, int]], size: tuple[int, int], mode: str, seed: int
) -> None:
    _up_skip(run, sizes, size, mode, seed)


@pytest.mark.triton
@fewer(20)
@given(SLOW, pyramid_sizes, size_of_maps, modes, seeds)
@searching("semi_dense_up_skip, triton")
def test_the_up_skip_by_triton(
    run: Run, sizes: list[tuple[int, int]], size: tuple[int, int], mode: str, seed: int
) -> None:
    _up_skip(run, sizes, size, mode, seed)


INDUCTOR = ("inductor", torch.float32)


@compiled
@given(seeds)
@searching("all, inductor at one size")
def test_every_operation_compiled(seed: int) -> None:
    target = uniform(seed, 2, 9, 11, low=0.3, high=9)
    target[uniform(seed + 1, 2, 9, 11) < 0.2] = 0
    maps = DepthMaps(uniform(seed + 2, 2, 9, 11, high=9), target, None)
    _depth_aware(INDUCTOR, maps, "smooth_l1", 1.0, seed)
    _joint_gradient(INDUCTOR, maps, True, seed)
    _semantic_focal(INDUCTOR, 5, (9, 11), 2.0, seed)
    _lateral_sharing(INDUCTOR, 2, False, (9, 11), seed)
    _up_skip(INDUCTOR, [(3, 4), (5, 6)], (9, 11), "bilinear", seed)
