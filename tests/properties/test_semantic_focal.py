"""What holds of the semantic focal loss for any logits, labels and options, at the labels' size or below it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from tests import oracle
from tests.properties.search import (
    close,
    gammas,
    gradient,
    laid_out,
    layouts,
    order_of,
    reductions,
    searching,
    seeds,
    sides,
    sprinkled,
    uniform,
)
from torch import Tensor
from torch.nn.functional import cross_entropy, interpolate

from depthattn import functional as F

IGNORED = 255


class Scores(NamedTuple):
    """Logits (B,K,...), labels (B,...) with some ignored, and class weights (K,) or None."""

    logits: Tensor
    target: Tensor
    weight: Tensor | None

    @property
    def valid(self) -> Tensor:
        return self.target != IGNORED

    def loss(self, **options: Any) -> Tensor:
        return F.semantic_focal_loss(
            self.logits,
            self.target,
            weight=self.weight,
            **{"ignore_index": IGNORED, "reduction": "per_image", **options},
        )


@st.composite
def scores(draw: st.DrawFn, saturated: bool = True) -> Scores:
    """One class or several, one pixel or many, junk in the logits of ignored pixels."""
    batch, classes = draw(st.integers(1, 3)), draw(st.integers(2, 6))
    trailing = draw(st.lists(sides, max_size=2))
    seed = draw(seeds)
    logits = uniform(seed, batch, classes, *trailing, low=-9, high=9)
    if saturated:
        values = st.sampled_from([0.0, 40.0, -800.0, 1e30, -1e30])
        logits = sprinkled(logits, draw(st.lists(values, max_size=6)), seed)
    target = (uniform(seed + 1, batch, *trailing) * classes).long()
    ignored = uniform(seed + 2, batch, *trailing) < draw(st.sampled_from([0.0, 0.3, 1.0]))
    target = torch.where(ignored, IGNORED, target)
    junk = draw(st.sampled_from([0.0, 1e30, float("nan"), float("inf"), float("-inf")]))
    logits = torch.where(ignored.unsqueeze(1), junk, logits)
    weight = draw(
        st.sampled_from([None, uniform(seed + 3, classes), sprinkled(uniform(seed + 3, classes), [0.0], seed)])
    )
    return Scores(logits, target.to(draw(st.sampled_from([torch.int64, torch.int32, torch.uint8]))), weight)


@given(scores(), gammas, st.sampled_from(["pixels", "weight"]), reductions, layouts)
@searching("semantic_focal_loss")
def test_is_the_oracle(given: Scores, gamma: float, normalize_by: str, reduction: str, layout: str) -> None:
    laid = given._replace(logits=laid_out(given.logits, layout), target=laid_out(given.target, layout))
    ours = laid.loss(gamma=gamma, normalize_by=normalize_by, reduction=reduction)
    weight = None if given.weight is None else given.weight.numpy()
    values, valid, weights = oracle.semantic_focal(given.logits.numpy(), given.target.numpy(), weight, gamma, IGNORED)
    close(ours, oracle.reduced(values, valid if normalize_by == "pixels" else weights, reduction))


@given(scores(), gammas)
@searching("semantic_focal_loss")
def test_its_gradient_is_the_derivative_and_zero_where_no_pixel_counts(given: Scores, gamma: float) -> None:
    logits = given.logits.requires_grad_()
    ours = gradient(given.loss(gamma=gamma, reduction="sum"), logits)
    close(ours, _slopes(given, gamma))
    assert not ours.masked_select(~given.valid.unsqueeze(1)).any()


def _slopes(given: Scores, gamma: float) -> Tensor:
    """w q^gamma (1 + gamma s p_y / q) (p_k - [k = y]), q = 1 - p_y = sum of the others, s = -log p_y; 0 for q = 0."""
    z = given.logits.detach().movedim(1, -1)
    labels = given.target.long().where(given.valid, 0).unsqueeze(-1)
    own = torch.zeros_like(z).scatter_(-1, labels, 1.0)
    log_p = z.log_softmax(-1)
    p = log_p.exp()
    q = (p * (1 - own)).sum(-1, keepdim=True)
    log_own = log_p.gather(-1, labels)
    through = torch.where(q > 0, -gamma * log_own * log_own.exp() / q.where(q > 0, 1), 0)
    # p_y - 1 by subtraction would round the slope of a saturated pixel away.
    slope = q.pow(gamma) * (1 + through) * torch.where(own > 0, -q, p)
    if given.weight is not None:
        slope = slope * given.weight[labels]
    return slope.where(given.valid.unsqueeze(-1), 0).movedim(-1, 1)


@given(scores(), st.booleans())
@searching("semantic_focal_loss")
def test_without_gamma_it_is_cross_entropy(given: Scores, by_weight: bool) -> None:
    # Where torch's divides 0 by 0, ours is 0.
    chosen = None if given.weight is None else given.weight[given.target[given.valid].long()]
    assume(given.valid.any() and (chosen is None or chosen.sum() > 0))
    by_weight = by_weight or given.weight is None
    ours = given.loss(gamma=0.0, reduction="mean", normalize_by="weight" if by_weight else "pixels")
    wanted = cross_entropy(
        given.logits, given.target.long(), given.weight, ignore_index=IGNORED, reduction="mean" if by_weight else "sum"
    )
    close(ours, wanted if by_weight else wanted / given.valid.sum())


@given(scores(), gammas, seeds)
@searching("semantic_focal_loss")
def test_the_names_of_classes_and_the_order_of_images_do_not_matter(given: Scores, gamma: float, seed: int) -> None:
    classes, images = order_of(given.logits.shape[1], seed), order_of(len(given.logits), seed)
    named = torch.where(given.valid, given.target.long(), 0)
    renamed = torch.where(given.valid, classes.argsort()[named], IGNORED)
    weight = None if given.weight is None else given.weight[classes]
    shuffled = Scores(given.logits[:, classes][images], renamed[images], weight)
    close(shuffled.loss(gamma=gamma), given.loss(gamma=gamma)[images])


@given(scores(), gammas, seeds)
@searching("semantic_focal_loss")
def test_the_order_and_the_axes_of_pixels_do_not_matter(given: Scores, gamma: float, seed: int) -> None:
    pixels = order_of(given.target[0].numel(), seed)
    logits = given.logits.reshape(*given.logits.shape[:2], -1)[:, :, pixels]
    target = given.target.reshape(len(given.target), -1)[:, pixels]
    close(given._replace(logits=logits, target=target).loss(gamma=gamma), given.loss(gamma=gamma))


@given(scores(saturated=False), gammas, st.floats(-100, 100), st.floats(0.01, 100))
@searching("semantic_focal_loss")
def test_a_shift_of_the_logits_does_nothing_and_weights_are_factors(
    given: Scores, gamma: float, shift: float, factor: float
) -> None:
    close(given._replace(logits=given.logits + shift).loss(gamma=gamma), given.loss(gamma=gamma), 1e3)
    weight = torch.ones(given.logits.shape[1], dtype=torch.float64) if given.weight is None else given.weight
    close(given._replace(weight=factor * weight).loss(gamma=gamma), factor * given.loss(gamma=gamma))


@given(scores(), gammas)
@searching("semantic_focal_loss")
def test_the_reductions_fit_each_other(given: Scores, gamma: float) -> None:
    each, mean, total, values = (
        given.loss(gamma=gamma, reduction=name) for name in ("per_image", "mean", "sum", "none")
    )
    counts = given.valid.view(len(each), -1).sum(1)
    close(total, values.sum())
    close(each * counts, values.view(len(each), -1).sum(1))
    close(mean * counts.sum(), total)
    if counts.unique().numel() == 1:
        close(each.mean(), mean)


@st.composite
def small_scores(draw: st.DrawFn) -> Scores:
    """Logits of another size than the labels."""
    batch, classes, seed = draw(st.integers(1, 3)), draw(st.integers(2, 4)), draw(seeds)
    small, size = ((draw(sides), draw(sides)) for _ in range(2))
    logits = uniform(seed, batch, classes, *small, low=-9, high=9)
    target = (uniform(seed + 1, batch, *size) * classes).long()
    target = torch.where(uniform(seed + 2, batch, *size) < draw(st.sampled_from([0.0, 0.3, 1.0])), IGNORED, target)
    return Scores(logits, target, draw(st.sampled_from([None, uniform(seed + 3, classes)])))


@given(small_scores(), gammas, st.sampled_from(["pixels", "weight"]), reductions, st.booleans(), layouts)
@searching("semantic_focal_loss, upsample")
def test_upsample_is_resizing_first(
    given: Scores, gamma: float, normalize_by: str, reduction: str, align_corners: bool, layout: str
) -> None:
    options = {"gamma": gamma, "normalize_by": normalize_by, "reduction": reduction}
    logits = laid_out(given.logits, layout).requires_grad_()
    ours = given._replace(logits=logits).loss(upsample="bilinear", align_corners=align_corners, **options)
    slope = gradient(ours, logits)
    full = interpolate(logits, given.target.shape[1:], mode="bilinear", align_corners=align_corners)
    wanted = given._replace(logits=full).loss(**options)
    close(ours, wanted.detach())
    close(slope, gradient(wanted, logits))


@given(small_scores(), gammas, seeds)
@searching("semantic_focal_loss, upsample")
def test_upsample_does_not_know_classes_or_images_by_their_numbers(given: Scores, gamma: float, seed: int) -> None:
    classes, images = order_of(given.logits.shape[1], seed), order_of(len(given.logits), seed)
    renamed = torch.where(given.valid, classes.argsort()[given.target.where(given.valid, 0)], IGNORED)
    weight = None if given.weight is None else given.weight[classes]
    shuffled = Scores(given.logits[:, classes][images], renamed[images], weight)
    wanted = given.loss(gamma=gamma, upsample="bilinear")[images]
    close(shuffled.loss(gamma=gamma, upsample="bilinear"), wanted)
