"""Pixels that do not count: exactly zero loss and gradient whatever is there, and 0 for an empty denominator."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from tests.ops.cases import depth, labels_for, random
from torch import Tensor

import depthattn
from depthattn import functional as F

JUNK = (math.nan, math.inf, -math.inf, 1e30, -1e30)
SHAPE = (2, 8, 9)


def losses(target: Tensor, labels: Tensor) -> dict[str, Callable[[Tensor], Tensor]]:
    return {
        "depth_aware": lambda pred: F.depth_aware_loss(pred, target, reduction="none"),
        "depth_aware-sum": lambda pred: F.depth_aware_loss(pred, target, reduction="per_image"),
        "joint_gradient": lambda pred: F.joint_gradient_loss(pred, target, labels=labels, reduction="none"),
        "joint_gradient-sum": lambda pred: F.joint_gradient_loss(pred, target, labels=labels, reduction="per_image"),
    }


@pytest.mark.parametrize("name", losses(torch.empty(0), torch.empty(0)))
@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("hole", [0.0, -2.0, math.nan, math.inf])
def test_predictions_in_holes_have_no_effect(name: str, junk: float, hole: float) -> None:
    target = depth(*SHAPE, seed=2)
    labels = torch.zeros(SHAPE, dtype=torch.int64)
    target[0, 2:5, 3:6] = hole
    labels[0, 2:5, 3:6] = -100
    target[1], labels[1] = hole, -100
    pred = depth(*SHAPE, seed=1)
    spoiled = pred.clone()
    spoiled[0, 2:5, 3:6] = junk
    spoiled[1] = junk
    results = []
    for values in (pred, spoiled):
        x = values.clone().requires_grad_()
        loss = losses(target, labels)[name](x)
        (grad,) = torch.autograd.grad(loss.sum(), x)
        results.append((loss.detach(), grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not results[1][1][1].any()
    assert not results[1][1][0, 3, 4]


@pytest.mark.parametrize("junk", JUNK)
@pytest.mark.parametrize("reduction", ["none", "per_image"])
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_logits_at_ignored_pixels_have_no_effect(junk: float, reduction: str, gamma: float) -> None:
    target = labels_for(2, 4, 5, classes=3)
    target[1] = -100
    logits = random(2, 3, 4, 5, seed=1, low=-2, high=2)
    spoiled = torch.where((target == -100).unsqueeze(1), junk, logits)
    results = []
    for values in (logits, spoiled):
        x = values.clone().requires_grad_()
        loss = F.semantic_focal_loss(x, target, gamma=gamma, reduction=reduction)
        (grad,) = torch.autograd.grad(loss.sum(), x)
        results.append((loss.detach(), grad))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])
    assert not results[1][1][(target == -100).unsqueeze(1).expand_as(logits)].any()


@pytest.mark.parametrize("reduction", ["mean", "per_image", "sum", "none"])
@pytest.mark.parametrize("batch", [0, 2])
def test_nothing_valid_is_exactly_zero_with_zero_gradient(reduction: str, batch: int) -> None:
    pred = depth(batch, 5, 6, seed=1).requires_grad_()
    holes = torch.zeros(batch, 5, 6)
    ignored = torch.full((batch, 5, 6), -100)
    logits = random(batch, 4, 5, 6, seed=2).requires_grad_()
    small, small_logits = depth(batch, 3, 2, seed=1).requires_grad_(), random(batch, 4, 3, 2, seed=2).requires_grad_()
    resized = {"upsample": "bilinear", "reduction": reduction}
    for loss, x in (
        (F.depth_aware_loss(pred, holes, reduction=reduction), pred),
        (F.depth_aware_loss(pred, holes, max_depth=10.0, reduction=reduction), pred),
        (F.joint_gradient_loss(pred, holes, labels=ignored, reduction=reduction), pred),
        (F.semantic_focal_loss(logits, ignored, reduction=reduction), logits),
        (F.semantic_focal_loss(logits, ignored, normalize_by="weight", reduction=reduction), logits),
        (F.depth_aware_loss(small, holes, **resized), small),
        (F.joint_gradient_loss(small, holes, labels=ignored, **resized), small),
        (F.semantic_focal_loss(small_logits, ignored, **resized), small_logits),
    ):
        assert loss.shape == {"per_image": (batch,), "none": (batch, 5, 6)}.get(reduction, ())
        assert torch.equal(loss, torch.zeros_like(loss))
        (grad,) = torch.autograd.grad(loss.sum(), x)
        assert torch.equal(grad, torch.zeros_like(grad))


def test_a_nan_at_a_valid_pixel_shows() -> None:
    pred = depth(2, 6, 6, seed=1)
    pred[0, 3, 3] = math.nan
    target, labels = depth(2, 6, 6, seed=2), torch.zeros(2, 6, 6, dtype=torch.int64)
    for loss in (
        F.depth_aware_loss(pred, target, reduction="per_image"),
        F.joint_gradient_loss(pred, target, reduction="per_image"),
        F.joint_gradient_loss(pred, torch.zeros_like(target), labels=labels, reduction="per_image"),
        F.semantic_focal_loss(pred.unsqueeze(1).expand(2, 3, 6, 6), labels, reduction="per_image"),
    ):
        assert loss[0].isnan()
        assert loss[1].isfinite()


def test_semantics_shape_the_depth_inside_holes() -> None:
    ramp = torch.arange(6.0).expand(1, 6, 6).clone().requires_grad_()
    labels = torch.zeros(1, 6, 6, dtype=torch.int64)
    loss = F.joint_gradient_loss(ramp, torch.zeros(1, 6, 6), labels=labels)
    loss.backward()
    assert loss.item() == 8.0
    assert torch.equal(ramp.grad.sign(), torch.tensor([-1.0, -1, 0, 0, 1, 1]).expand(1, 6, 6))


@pytest.mark.parametrize("label", [7, -3])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_a_label_out_of_range_is_named(label: int, reduction: str) -> None:
    target = torch.zeros(1, 2, 2, dtype=torch.int64)
    target[0, 1, 0] = label
    with pytest.raises(ValueError, match=rf"semantic_focal_loss: expected labels in \[0, 4\).*got {label}"):
        F.semantic_focal_loss(torch.zeros(1, 4, 2, 2), target, reduction=reduction)


def test_an_unsigned_label_image_with_255_for_ignored() -> None:
    target = torch.tensor([[[0, 1], [255, 2]]], dtype=torch.uint8)
    logits = random(1, 3, 2, 2, seed=1)
    wanted = torch.nn.functional.cross_entropy(logits, target.long(), ignore_index=255)
    torch.testing.assert_close(F.semantic_focal_loss(logits, target, gamma=0.0, ignore_index=255), wanted)


def test_set_validation_wants_a_bool() -> None:
    with pytest.raises(TypeError, match="set_validation: expected a bool, got int"):
        depthattn.set_validation(1)  # type: ignore[arg-type]
