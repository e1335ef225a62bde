"""What holds for any shape and any data: invariants of the five operations, searched by hypothesis."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import oracle
from torch import Tensor

from depthattn import functional as F

SEARCH = settings(max_examples=40, deadline=None, derandomize=True)

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 9)
shapes = st.tuples(st.integers(1, 3), sides, sides)
# Metres, with the places where the formula bends: zero, next to nothing, around one metre, far, missing.
special = st.sampled_from(
    [0.0, 1e-300, 1e-8, 1.0 - 1e-12, 1.0, 1.0 + 1e-12, 0.5, 2.0, 1e30, float("nan"), float("inf")]
)


def uniform(seed: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64) * (high - low) + low


def with_specials(x: Tensor, values: list[float], seed: int) -> Tensor:
    places = torch.randint(x.numel(), (len(values),), generator=torch.Generator().manual_seed(seed))
    x.view(-1)[places] = torch.tensor(values, dtype=x.dtype)
    return x


@SEARCH
@given(
    shapes,
    seeds,
    st.lists(special, max_size=5),
    st.sampled_from(["l1", "l2", "smooth_l1"]),
    st.sampled_from([0.0, 1.0]),
)
def test_depth_aware_loss_is_the_oracle(
    shape: tuple[int, int, int], seed: int, values: list[float], distance: str, log_offset: float
) -> None:
    target = with_specials(uniform(seed, *shape, low=0.3, high=9), values, seed)
    finite = [v if np.isfinite(v) else -1.0 for v in values]
    pred = with_specials(uniform(seed + 1, *shape, low=-0.5, high=9), finite, seed + 1)
    ours = F.depth_aware_loss(pred, target, distance=distance, log_offset=log_offset, reduction="per_image")
    terms, valid = oracle.depth_aware(pred.numpy(), target.numpy(), distance=distance, log_offset=log_offset)
    np.testing.assert_allclose(ours.numpy(), oracle.reduced(terms, valid, "per_image"), rtol=1e-9, atol=1e-12)


@SEARCH
@given(shapes, seeds)
def test_the_order_of_pixels_does_not_matter_to_the_depth_aware_loss(shape: tuple[int, int, int], seed: int) -> None:
    pred, target = uniform(seed, *shape, high=9), uniform(seed + 1, *shape, low=-1, high=9)
    order = torch.randperm(shape[1] * shape[2], generator=torch.Generator().manual_seed(seed))
    shuffled = [x.flatten(1)[:, order].view(shape) for x in (pred, target)]
    torch.testing.assert_close(
        F.depth_aware_loss(*shuffled, reduction="per_image"), F.depth_aware_loss(pred, target, reduction="per_image")
    )


@SEARCH
@given(st.integers(1, 2), st.integers(3, 9), st.integers(3, 9), seeds)
def test_a_mask_is_a_crop(batch: int, height: int, width: int, seed: int) -> None:
    pred, target = uniform(seed, batch, height + 3, width + 2, high=9), uniform(seed + 1, batch, height + 3, width + 2)
    mask = torch.zeros(pred.shape, dtype=torch.bool)
    inside = (slice(None), slice(1, height + 1), slice(2, width + 2))
    mask[inside] = True
    for loss in (F.depth_aware_loss, F.joint_gradient_loss):
        torch.testing.assert_close(loss(pred, target, mask=mask), loss(pred[inside], target[inside]))
        torch.testing.assert_close(
            loss(pred, target, mask=torch.ones_like(mask), reduction="none"), loss(pred, target, reduction="none")
        )


@SEARCH
@given(shapes, seeds, st.floats(0.01, 100))
def test_the_joint_gradient_loss_grows_with_the_scale(shape: tuple[int, int, int], seed: int, factor: float) -> None:
    pred, target = uniform(seed, *shape, low=1, high=9), uniform(seed + 1, *shape, low=1, high=9)
    once, scaled = F.joint_gradient_loss(pred, target), F.joint_gradient_loss(factor * pred, factor * target)
    torch.testing.assert_close(scaled, factor * once)


@SEARCH
@given(shapes, st.integers(1, 6), seeds, st.sampled_from([0.0, 0.5, 2.0]))
def test_the_names_of_classes_do_not_matter_to_the_focal_loss(
    shape: tuple[int, int, int], classes: int, seed: int, gamma: float
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = uniform(seed, shape[0], classes, *shape[1:], low=-9, high=9)
    target = torch.randint(-1, classes, shape, generator=generator)
    order = torch.randperm(classes, generator=generator)
    renamed = torch.where(target < 0, target, order.argsort()[target.clamp(min=0)])
    options = {"gamma": gamma, "ignore_index": -1, "reduction": "per_image"}
    torch.testing.assert_close(
        F.semantic_focal_loss(logits[:, order], renamed, **options), F.semantic_focal_loss(logits, target, **options)
    )


@SEARCH
@given(st.integers(2, 4), seeds, st.booleans())
def test_lateral_sharing_is_linear(tasks: int, seed: int, per_channel: bool) -> None:
    gates = uniform(seed, tasks, tasks, *([3] if per_channel else []), low=-2, high=2)
    a, b = ([uniform(seed + k + t, 2, 3, 4, low=-1) for t in range(tasks)] for k in (1, 10))
    together = F.lateral_sharing([2 * x - y for x, y in zip(a, b, strict=True)], gates)
    for ours, x, y in zip(together, F.lateral_sharing(a, gates), F.lateral_sharing(b, gates), strict=True):
        torch.testing.assert_close(ours, 2 * x - y)


@SEARCH
@given(
    st.lists(st.tuples(sides, sides), min_size=1, max_size=4), sides, sides, st.sampled_from(["bilinear", "nearest"])
)
def test_resizing_weights_add_up_to_one(sizes: list[tuple[int, int]], height: int, width: int, mode: str) -> None:
    levels = [torch.full((1, 2, *size), float(j + 1), dtype=torch.float64) for j, size in enumerate(sizes)]
    merged = F.semi_dense_up_skip(levels, (height, width), mode=mode)
    wanted = torch.full((1, 2, height, width), sum(range(1, len(sizes) + 1)), dtype=torch.float64)
    torch.testing.assert_close(merged, wanted)
