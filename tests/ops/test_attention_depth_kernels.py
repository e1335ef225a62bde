"""Both depth losses in one pass: what the C++ kernel owes beyond the contract of every operation."""

from __future__ import annotations

import pytest
import torch
from tests.ops.cases import blocks_of_labels, depth, random
from torch import Tensor

from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss
from depthattn import functional as F
from depthattn.ops.attention_depth import ATTENTION_DEPTH, AttentionDepthOptions
from depthattn.ops.backend import resolve


def maps(*shape: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    pred, target = depth(*shape, seed=1), depth(*shape, seed=2)
    target[random(*shape, seed=3) < 0.04] = 0
    return pred, target, random(*shape, seed=4) < 0.97, blocks_of_labels(*shape)


WEIGHTS = torch.tensor([0.7, 1.3, 0.4], dtype=torch.float64)
# Below a window, one window, tails of every vector, several strips of rows and of columns.
SHAPES = [(2, 2, 7), (2, 7, 1), (1, 3, 3), (2, 9, 11), (3, 23, 17), (1, 60, 645), (1, 5, 1300)]


@pytest.mark.native
@pytest.mark.parametrize("labelled", [True, False], ids=["labels", "depth"])
@pytest.mark.parametrize("distance", ["smooth_l1", "l1", "l2", "berhu"])
@pytest.mark.parametrize("shape", SHAPES)
def test_strips_do_not_show(shape: tuple[int, int, int], distance: str, labelled: bool) -> None:
    pred, target, mask, labels = maps(*shape)
    options = AttentionDepthOptions(distance, 0.7, None, 1.0, False, -100, "mean", "sum")
    given = (labels, WEIGHTS) if labelled else (None, WEIGHTS[:2])
    results = []
    for backend in ("cpu", "reference"):
        leaf = pred.clone().requires_grad_()
        weights = given[1].clone().requires_grad_()
        loss, terms = ATTENTION_DEPTH((leaf, target, mask, given[0], weights), options, backend)
        kept = torch.autograd.grad(loss, (leaf, weights), retain_graph=True)
        computed = torch.autograd.grad(loss, (leaf, weights))
        assert all(torch.equal(a, b) for a, b in zip(kept, computed, strict=True))
        results.append((loss.detach(), terms, *kept))
    for ours, exact in zip(*results, strict=True):
        torch.testing.assert_close(ours, exact, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("reductions", [("mean", "mean"), ("sum", "mean")])
@pytest.mark.parametrize("distance", ["smooth_l1", "l1", "l2", "berhu"])
def test_the_gradient_is_that_of_the_separate_losses(reductions: tuple[str, str], distance: str) -> None:
    pred, target, mask, labels = maps(2, 17, 19)
    pred, target = pred.float().requires_grad_(), target.float()
    first = DepthAwareLoss(distance=distance, beta=0.5, log_offset=0.5, reduction=reductions[0])
    second = JointGradientLoss(semantic_weight=0.6, reduction=reductions[1])
    options = AttentionDepthOptions(distance, 0.5, None, 0.5, False, -100, *reductions)
    weights = torch.tensor([0.7, 1.3, 0.6 * 1.3])
    total, _ = ATTENTION_DEPTH((pred, target, mask, labels, weights), options, resolve(pred.device))
    wanted = 0.7 * first(pred, target, mask) + 1.3 * second(pred, target, mask, labels=labels)
    torch.testing.assert_close(total, wanted)
    (ours,), (exact,) = (torch.autograd.grad(loss, pred) for loss in (total, wanted))
    torch.testing.assert_close(ours, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.native
def test_a_thread_more_changes_no_bit() -> None:
    pred, target, mask, labels = maps(3, 120, 700)
    options = AttentionDepthOptions("smooth_l1", 1.0, None, 1.0, False, -100, "mean", "mean")
    threads, results = torch.get_num_threads(), []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            leaf = pred.float().requires_grad_()
            loss, _ = ATTENTION_DEPTH((leaf, target.float(), mask, labels, WEIGHTS.float()), options, "cpu")
            results.append((loss, *torch.autograd.grad(loss, leaf)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


def test_learned_weights_see_the_prediction_in_a_second_derivative() -> None:
    """d/dp of the squared slope of a log-variance: 2 (s' (1 - e^-s L)) (-e^-s dL/dp), all halves included."""
    pred, target, mask, _ = maps(2, 9, 11)
    pred.requires_grad_()
    loss = AttentionDrivenLoss(weights="learned").double()
    with torch.no_grad():
        loss.log_variances.copy_(torch.tensor([0.3, -0.2, 0.0]))
    total = loss(pred, None, target, None, mask=mask).total
    (slopes,) = torch.autograd.grad(total, loss.log_variances, create_graph=True)
    (ours,) = torch.autograd.grad(slopes.square().sum(), pred)
    parts = torch.stack((F.depth_aware_loss(pred, target, mask=mask), F.joint_gradient_loss(pred, target, mask=mask)))
    weights = torch.exp(-loss.log_variances.detach()[:2])
    wanted = torch.autograd.grad((0.5 * (1 - weights * parts)).square().sum(), pred)[0]
    torch.testing.assert_close(ours, wanted)


def test_a_prediction_at_half_size_and_images_below_a_window() -> None:
    resized = DepthAwareLoss(upsample="bilinear"), JointGradientLoss(upsample="bilinear")
    half, target = depth(2, 5, 6, seed=1).requires_grad_(), depth(2, 10, 12, seed=2)
    out = AttentionDrivenLoss(*resized)(half, None, target, None)
    first, second = (loss(half, target) for loss in resized)
    torch.testing.assert_close(out.total, first + second)
    for a, b in zip(*(torch.autograd.grad(x, half) for x in (out.total, first + second)), strict=True):
        torch.testing.assert_close(a, b)
    # A part that is not given takes the option from the one that is.
    assert torch.equal(AttentionDrivenLoss(resized[0])(half, None, target, None).total, out.total)
    small, truth = depth(2, 2, 2, seed=3), depth(2, 2, 2, seed=4)
    out = AttentionDrivenLoss()(small, None, truth, None)
    torch.testing.assert_close(out.total, F.depth_aware_loss(small, truth))
    assert out.joint_gradient == 0


def test_a_loss_with_a_forward_of_its_own_is_refused() -> None:
    class Own(DepthAwareLoss):
        def forward(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
            return (pred - target).abs().mean()

    with pytest.raises(
        TypeError, match="AttentionDrivenLoss: expected a DepthAwareLoss that computes as such, got Own"
    ):
        AttentionDrivenLoss(Own())
