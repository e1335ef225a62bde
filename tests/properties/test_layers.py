"""What holds of lateral sharing and of the semi-dense up-skip for any features."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import oracle
from tests.properties.search import close, laid_out, layouts, order_of, searching, seeds, sides, uniform
from torch import Tensor

from depthattn import functional as F

Sharing = tuple[Tensor, list[Tensor]]


@st.composite
def sharings(draw: st.DrawFn) -> Sharing:
    """Gates and the features of one to four tasks."""
    tasks, seed = draw(st.integers(1, 4)), draw(seeds)
    shape = (draw(st.integers(1, 3)), draw(st.integers(1, 4)), *draw(st.lists(sides, max_size=3)))
    gates = uniform(seed, tasks, tasks, *([shape[1]] if draw(st.booleans()) else []), low=-2, high=2)
    layout = draw(layouts)
    return gates, [laid_out(uniform(seed + 1 + t, *shape, low=-1), layout) for t in range(tasks)]


@given(sharings())
@searching("lateral_sharing")
def test_sharing_is_the_oracle(sharing: Sharing) -> None:
    gates, features = sharing
    wanted = oracle.lateral_sharing([x.numpy() for x in features], gates.numpy())
    for ours, theirs in zip(F.lateral_sharing(features, gates), wanted, strict=True):
        close(ours, theirs)


@given(sharings(), seeds)
@searching("lateral_sharing")
def test_sharing_is_linear_in_features_and_in_gates(sharing: Sharing, seed: int) -> None:
    gates, a = sharing
    b = [uniform(seed + t, *x.shape, low=-1) for t, x in enumerate(a)]
    once, twice = F.lateral_sharing(a, gates), F.lateral_sharing(b, gates)
    for ours, x, y in zip(
        F.lateral_sharing([2 * x - y for x, y in zip(a, b, strict=True)], gates), once, twice, strict=True
    ):
        close(ours, 2 * x - y)
    doubled = F.lateral_sharing(a, 2 * gates)
    for ours, x, own in zip(doubled, once, a, strict=True):
        close(ours, 2 * x - own)


@given(sharings(), seeds)
@searching("lateral_sharing")
def test_sharing_does_not_know_tasks_by_their_numbers(sharing: Sharing, seed: int) -> None:
    gates, features = sharing
    order = order_of(len(features), seed)
    shuffled = F.lateral_sharing([features[t] for t in order], gates[order][:, order])
    wanted = F.lateral_sharing(features, gates)
    for ours, t in zip(shuffled, order, strict=True):
        close(ours, wanted[t])


@given(sharings())
@searching("lateral_sharing")
def test_closed_gates_leave_every_bit(sharing: Sharing) -> None:
    gates, features = sharing
    for ours, own in zip(F.lateral_sharing(features, torch.zeros_like(gates)), features, strict=True):
        assert torch.equal(ours, own)


@given(sharings(), seeds)
@searching("lateral_sharing")
def test_the_gradients_of_sharing_are_its_transpose(sharing: Sharing, seed: int) -> None:
    gates, features = sharing
    inputs = [gates.requires_grad_(), *(x.requires_grad_() for x in features)]
    outputs = F.lateral_sharing(features, gates)
    cotangents = [uniform(seed + t, *x.shape, low=-1) for t, x in enumerate(outputs)]
    to_gates, *to_features = torch.autograd.grad(outputs, inputs, cotangents)
    for ours, wanted in zip(to_features, F.lateral_sharing(cotangents, gates.detach().transpose(0, 1)), strict=True):
        close(ours, wanted)
    products = torch.stack([torch.stack([c * x.detach() for x in features]) for c in cotangents])
    sums = products.transpose(2, 3).flatten(3).sum(3)
    close(to_gates, sums if gates.ndim == 3 else sums.sum(2), scale=float(products.abs().sum()))


Pyramid = tuple[list[Tensor], tuple[int, int]]


@st.composite
def pyramids(draw: st.DrawFn) -> Pyramid:
    """One to four maps of any sizes, and the size to bring them to."""
    batch, channels, seed, layout = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(seeds), draw(layouts)
    sizes = draw(st.lists(st.tuples(sides, sides), min_size=1, max_size=4))
    maps = [laid_out(uniform(seed + j, batch, channels, *size, low=-1), layout) for j, size in enumerate(sizes)]
    return maps, (draw(sides), draw(sides))


modes = st.sampled_from(["bilinear", "nearest"])


@given(pyramids())
@searching("semi_dense_up_skip")
def test_the_up_skip_is_the_oracle(pyramid: Pyramid) -> None:
    maps, size = pyramid
    close(F.semi_dense_up_skip(maps, size), oracle.semi_dense_up_skip([x.numpy() for x in maps], size))


@given(pyramids())
@searching("semi_dense_up_skip")
def test_the_nearest_up_skip_takes_the_pixel_below_each_centre(pyramid: Pyramid) -> None:
    maps, (height, width) = pyramid
    wanted = torch.zeros(*maps[0].shape[:2], height, width, dtype=torch.float64)
    for x in maps:
        rows, columns = (
            torch.tensor([(2 * i + 1) * n // (2 * count) for i in range(count)])
            for n, count in ((x.shape[2], height), (x.shape[3], width))
        )
        wanted += x[:, :, rows][..., columns]
    close(F.semi_dense_up_skip(maps, (height, width), mode="nearest"), wanted)


@given(pyramids(), modes)
@searching("semi_dense_up_skip")
def test_the_weights_of_the_up_skip_add_up_to_one(pyramid: Pyramid, mode: str) -> None:
    maps, size = pyramid
    merged = F.semi_dense_up_skip([torch.full_like(x, j + 1.0) for j, x in enumerate(maps)], size, mode=mode)
    close(merged, torch.full(merged.shape, sum(range(len(maps) + 1)), dtype=torch.float64))


@given(pyramids(), modes, seeds)
@searching("semi_dense_up_skip")
def test_the_up_skip_is_linear_and_mirrors_with_its_maps(pyramid: Pyramid, mode: str, seed: int) -> None:
    maps, size = pyramid
    others = [uniform(seed + j, *x.shape) for j, x in enumerate(maps)]
    once = F.semi_dense_up_skip(maps, size, mode=mode)
    both = F.semi_dense_up_skip([2 * x - y for x, y in zip(maps, others, strict=True)], size, mode=mode)
    close(both, 2 * once - F.semi_dense_up_skip(others, size, mode=mode))
    order = order_of(len(maps), seed)
    close(F.semi_dense_up_skip([maps[j] for j in order], size, mode=mode), once)
    # The nearest pixel of a centre that lies on an edge is the one behind it, which a mirror turns around.
    if mode == "bilinear":
        close(F.semi_dense_up_skip([x.flip(2, 3) for x in maps], size).flip(2, 3), once)
        close(F.semi_dense_up_skip([x.mT for x in maps], size[::-1]).mT, once)


@given(pyramids(), modes, seeds)
@searching("semi_dense_up_skip")
def test_the_gradient_of_the_up_skip_is_its_adjoint(pyramid: Pyramid, mode: str, seed: int) -> None:
    maps, size = pyramid
    inputs = [x.requires_grad_() for x in maps]
    merged = F.semi_dense_up_skip(inputs, size, mode=mode)
    cotangent = uniform(seed, *merged.shape, low=-1)
    grads = torch.autograd.grad(merged, inputs, cotangent)
    for x, ours in zip(maps, grads, strict=True):
        # <A v, c> is <v, A' c> for every v: also for each v that is one pixel.
        basis = torch.eye(x[0, 0].numel(), dtype=torch.float64).view(-1, 1, *x.shape[2:])
        columns = F.semi_dense_up_skip([basis], size, mode=mode).flatten(1)
        wanted = cotangent.flatten(2) @ columns.T
        close(ours, wanted.view(x.shape))
