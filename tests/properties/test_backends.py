"""In every dtype and on every backend: as near to the formula in float64 as storage and arithmetic allow."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.properties.search import DepthMaps, depth_maps, fewer, gammas, searching, seeds, sides, uniform
from torch import Tensor

from depthattn import functional as F
from depthattn import use_backend

# The interpreter computes with NumPy, also what a mask then leaves out.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

Function = Callable[..., Tensor]

# Triton's interpreter cuts bfloat16 off where a GPU rounds, and takes a hundred times as long as compiled code.
FAST = st.tuples(st.just("cpu"), st.sampled_from([torch.float32, torch.float16, torch.bfloat16]))
SLOW = st.tuples(st.just("triton"), st.sampled_from([torch.float32, torch.float16]))

Run = tuple[str, torch.dtype]


def agree(
    run: Run, function: Function, inputs: Sequence[Tensor], cotangent_seed: int, multilinear: bool = False
) -> None:
    """Values and gradients within the rounding of the arithmetic, in float32, and of the storage.

    What is ``multilinear`` in its inputs is a sum of products, as are its gradients: their rounding is that of the sum
    of the products' sizes, whatever they leave of each other.
    """
    backend, dtype = run
    stored = [x.to(dtype) for x in inputs]
    leaves = [x.clone().requires_grad_() for x in stored]
    with use_backend(backend):
        value = function(*leaves)
        cotangent = uniform(cotangent_seed, *value.shape, low=0.25).bfloat16()
        slopes = torch.autograd.grad(value, leaves, cotangent.to(value.dtype))
    wanted = _by_the_formula(function, stored, cotangent)
    sizes = _by_the_formula(function, [x.abs() for x in stored], cotangent) if multilinear else wanted
    for a, b, size in zip((value, *slopes), wanted, sizes, strict=True):
        kind = torch.finfo(a.dtype)
        bound = 64 * torch.finfo(torch.float32).eps + (kind.eps if a.dtype != torch.float32 else 0)
        largest = float(size.abs().max()) if b.numel() else 0.0
        # The smallest number that the dtype has above 0 is the spacing of the small ones.
        atol = bound * largest + kind.smallest_normal * kind.eps
        torch.testing.assert_close(a.detach().double(), b, rtol=bound, atol=atol)


def _by_the_formula(function: Function, inputs: Sequence[Tensor], cotangent: Tensor) -> list[Tensor]:
    exact = [x.double().requires_grad_() for x in inputs]
    with use_backend("reference"):
        value = function(*exact)
    return [value.detach(), *torch.autograd.grad(value, exact, cotangent.double())]


def _depth_aware(run: Run, maps: DepthMaps, distance: str, log_offset: float, seed: int) -> None:
    target = maps.target.to(run[1])
    agree(
        run,
        lambda pred: F.depth_aware_loss(
            pred, target.to(pred.dtype), maps.mask, distance=distance, log_offset=log_offset, reduction="per_image"
        ),
        [maps.pred],
        seed,
    )


def _joint_gradient(run: Run, maps: DepthMaps, semantic: bool, seed: int) -> None:
    target = maps.target.to(run[1])
    semantics = [uniform(seed, *target.shape, high=9)] if semantic else []
    # Junk where the target has holes, which this term does not know of.
    semantics = [x.masked_fill(~(maps.pred.abs() < 1e4), torch.nan) for x in semantics]

    def function(pred: Tensor, *more: Tensor) -> Tensor:
        return F.joint_gradient_loss(
            pred, target.to(pred.dtype), maps.mask, semantics=more[0] if more else None, reduction="per_image"
        )

    agree(run, function, [maps.pred, *semantics], seed)


def _semantic_focal(run: Run, classes: int, size: tuple[int, int], gamma: float, seed: int) -> None:
    logits = uniform(seed, 2, classes, *size, low=-6, high=6)
    target = (uniform(seed + 1, 2, *size) * (classes + 1)).long() - 1
    agree(
        run,
        lambda logits: F.semantic_focal_loss(logits, target, gamma=gamma, ignore_index=-1, reduction="per_image"),
        [logits],
        seed,
    )


def _lateral_sharing(run: Run, tasks: int, per_channel: bool, size: tuple[int, int], seed: int) -> None:
    gates = uniform(seed, tasks, tasks, *([3] if per_channel else []), low=-1)
    features = [uniform(seed + 1 + t, 2, 3, *size, low=-1) for t in range(tasks)]
    agree(
        run,
        lambda gates, *features: torch.stack(F.lateral_sharing(features, gates)),
        [gates, *features],
        seed,
        multilinear=True,
    )


def _up_skip(run: Run, sizes: list[tuple[int, int]], size: tuple[int, int], mode: str, seed: int) -> None:
    agree(
        run,
        lambda *maps: F.semi_dense_up_skip(maps, size, mode=mode),
        [uniform(seed + j, 2, 2, *each, low=-1) for j, each in enumerate(sizes)],
        seed,
        multilinear=True,
    )


distances, offsets = st.sampled_from(["l1", "l2", "smooth_l1", "berhu"]), st.sampled_from([0.0, 1.0])
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


@given(FAST, st.integers(2, 7), size_of_maps, gammas, seeds)
@searching("semantic_focal_loss")
def test_semantic_focal_in_every_dtype(run: Run, classes: int, size: tuple[int, int], gamma: float, seed: int) -> None:
    _semantic_focal(run, classes, size, gamma, seed)


@pytest.mark.triton
@fewer(20)
@given(SLOW, st.integers(2, 7), size_of_maps, gammas, seeds)
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
