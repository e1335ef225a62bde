"""What the C++ kernel of the joint gradient loss owes beyond the contract of every operation."""

from __future__ import annotations

import pytest
import torch
from tests import oracle
from tests.ops.cases import blocks_of_labels, depth, random
from torch import Tensor

from depthattn import use_backend
from depthattn.functional import joint_gradient_loss

pytestmark = pytest.mark.native

KINDS = pytest.mark.parametrize("kind", ["none", "labels", "semantics"])
DOUBLE = torch.float64


def maps(kind: str, *shape: int) -> dict[str, Tensor]:
    """Arguments of the loss: a target with holes, a mask, and semantics of a kind with pixels that do not count."""
    target = depth(*shape, seed=2)
    target[random(*shape, seed=3) < 0.04] = 0
    arguments = {"pred": depth(*shape, seed=1), "target": target, "mask": random(*shape, seed=4) < 0.97}
    if kind == "labels":
        arguments["labels"] = blocks_of_labels(*shape)
    if kind == "semantics":
        arguments["semantics"] = random(*shape, seed=6, high=9.0)
        arguments["semantics"][random(*shape, seed=7) < 0.05] = torch.nan
    return arguments


def with_gradient(arguments: dict[str, Tensor], **options: object) -> tuple[Tensor, Tensor]:
    pred = arguments["pred"].clone().requires_grad_()
    loss = joint_gradient_loss(**{**arguments, "pred": pred}, **options)  # type: ignore[arg-type]
    return loss.detach(), torch.autograd.grad(loss.sum(), pred)[0]


# Below a window, one window, tails of every vector, several strips of rows and of columns.
SHAPES = [(2, 2, 7), (2, 7, 1), (1, 3, 3), (2, 9, 11), (3, 23, 17), (1, 60, 645), (1, 5, 1300)]


@KINDS
@pytest.mark.parametrize("shape", SHAPES)
def test_strips_do_not_show(shape: tuple[int, int, int], kind: str) -> None:
    arguments = maps(kind, *shape)
    with use_backend("cpu"):
        ours = with_gradient(arguments, semantic_weight=0.7)
    with use_backend("reference"):
        exact = with_gradient(arguments, semantic_weight=0.7)
    for a, b in zip(ours, exact, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)
    assert (ours[1][exact[1] == 0].abs() < 1e-14).all()


@KINDS
def test_values_of_every_window(kind: str) -> None:
    arguments = maps(kind, 2, 23, 17)
    semantics = arguments.get("labels", arguments.get("semantics"))
    plain = [None if x is None else x.numpy() for x in (semantics, arguments["mask"])]
    values = oracle.joint_gradient(arguments["pred"].numpy(), arguments["target"].numpy(), *plain)
    with use_backend("cpu"):
        loss, _ = with_gradient(arguments, semantic_weight=0.7)
    exact = values[0].sum() / values[1].sum() + 0.7 * values[2].sum() / max(values[3].sum(), 1)
    torch.testing.assert_close(loss, torch.tensor(exact), rtol=1e-13, atol=0)


LABELS = [torch.uint8, torch.int8, torch.int16, torch.int32, torch.uint16, torch.uint32, torch.uint64]


@pytest.mark.parametrize("dtype", LABELS, ids=str)
def test_labels_of_any_integer_dtype(dtype: torch.dtype) -> None:
    arguments = maps("labels", 2, 9, 11)
    labels = arguments["labels"].clamp(min=0)
    labels[:, 4:] = 100 if dtype == torch.int8 else 156
    for ignore_index in (-100, 0, 156):
        with use_backend("cpu"):
            exact = with_gradient({**arguments, "labels": labels}, ignore_index=ignore_index)
            ours = with_gradient({**arguments, "labels": labels.to(dtype)}, ignore_index=ignore_index)
        assert all(torch.equal(a, b) for a, b in zip(ours, exact, strict=True))


def test_labels_that_float32_cannot_tell_apart() -> None:
    labels = torch.full((1, 5, 6), 2**40)
    labels[:, :, 3:] += 1
    ramp = torch.arange(6.0).expand(1, 5, 6)
    with use_backend("cpu"):
        # Six windows inside a class, each with the edge 8 of a ramp of slope 1; the depth term is 0.
        assert joint_gradient_loss(ramp + 1, ramp + 1, labels=labels, reduction="sum") == 6 * 8


@KINDS
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_a_kept_gradient_has_the_bits_of_a_computed_one(kind: str, reduction: str) -> None:
    arguments = {name: x.float() if x.is_floating_point() else x for name, x in maps(kind, 2, 40, 33).items()}
    pred = arguments.pop("pred").requires_grad_()
    with use_backend("cpu"):
        loss = joint_gradient_loss(pred, **arguments, semantic_weight=0.7, reduction=reduction)  # type: ignore[arg-type]
        first, second = (torch.autograd.grad(3 * loss, pred, retain_graph=True)[0] for _ in range(2))
    assert first.data_ptr() != second.data_ptr()
    assert torch.equal(first, second)


@KINDS
def test_a_thread_more_changes_no_bit(kind: str) -> None:
    arguments = {name: x.float() if x.is_floating_point() else x for name, x in maps(kind, 3, 120, 700).items()}
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            with use_backend("cpu"):
                results.append(with_gradient(arguments))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_a_hole_next_to_a_window_and_an_infinite_scale() -> None:
    pred, target = depth(1, 3, 4, seed=1), torch.full((1, 3, 4), 2.0, dtype=DOUBLE)
    target[0, 0, 3] = 0
    pred[0, :, 3] = torch.nan
    pred.requires_grad_()
    with use_backend("cpu"):
        loss = joint_gradient_loss(pred, target)
        assert loss.isfinite()
        torch.autograd.grad(loss, pred, retain_graph=True)
        (gradient,) = torch.autograd.grad(loss, pred, torch.tensor(torch.inf, dtype=DOUBLE))
    assert torch.equal(gradient[0, :, 3], torch.zeros(3, dtype=DOUBLE))


@pytest.mark.parametrize("backend", ["cpu", "reference"])
def test_a_prediction_of_nan_shows_where_it_counts(backend: str) -> None:
    pred, target = depth(1, 7, 8, seed=1), depth(1, 7, 8, seed=2)
    pred[0, 3, 4] = torch.nan
    with use_backend(backend):
        loss, gradient = with_gradient({"pred": pred, "target": target})
    assert loss.isnan()
    # Of the eight windows whose edges see the pixel the signs are unknown; they meet in a cross around it.
    unknown = gradient.isnan()[0]
    assert unknown[3, 3:6].all()
    assert unknown[2:5, 4].all()
    assert not unknown[:, :2].any()


def test_the_second_derivative_to_the_prediction_is_there_and_zero() -> None:
    """The loss is linear between its kinks; penalties on a gradient must not find a missing one."""
    arguments = maps("none", 2, 9, 11)
    pred = arguments["pred"].requires_grad_()
    (first,) = torch.autograd.grad(joint_gradient_loss(pred, arguments["target"]), pred, create_graph=True)
    (second,) = torch.autograd.grad((first * random(2, 9, 11, seed=3)).sum(), pred)
    assert first.abs().sum() > 0
    assert torch.equal(second, torch.zeros_like(pred))
