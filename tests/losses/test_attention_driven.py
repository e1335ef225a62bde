"""The three losses together: weights, learned weights, and targets that are missing in part or altogether."""

from __future__ import annotations

import copy
import math
import pickle
from typing import Any

import pytest
import torch
from tests.ops.cases import depth, labels_for, random
from torch import Tensor

from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss, SemanticFocalLoss
from depthattn import functional as F

DEPTH, TRUTH = depth(2, 1, 8, 9, seed=1), depth(2, 1, 8, 9, seed=2)
LOGITS = random(2, 4, 8, 9, seed=3, low=-2, high=2)
LABELS = torch.zeros(2, 8, 9, dtype=torch.int64)
LABELS[:, :, 5:] = labels_for(2, 8, 4, classes=4)
PARTS = torch.stack(
    (
        F.depth_aware_loss(DEPTH, TRUTH, max_depth=10.0),
        F.joint_gradient_loss(DEPTH, TRUTH, labels=LABELS),
        F.semantic_focal_loss(LOGITS, LABELS),
    )
)


def test_parts_and_their_weighted_sum() -> None:
    loss = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights=(1.0, 0.5, 2))
    out = loss(DEPTH, LOGITS, TRUTH, LABELS)
    torch.testing.assert_close(torch.stack(out[1:]), PARTS, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(out.total, (PARTS * torch.tensor([1.0, 0.5, 2.0])).sum())
    assert (out.depth_aware, out.joint_gradient, out.semantic_focal) == out[1:]


def test_the_gradient_is_that_of_the_three_losses_and_the_parts_are_for_logging() -> None:
    d, z = DEPTH.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    out = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights=(1, 3, 2))(d, z, TRUTH, LABELS)
    assert not any(part.requires_grad for part in out[1:])
    ours = torch.autograd.grad(out.total, (d, z))
    separate = F.depth_aware_loss(d, TRUTH, max_depth=10.0) + 3 * F.joint_gradient_loss(d, TRUTH, labels=LABELS)
    wanted = torch.autograd.grad(separate + 2 * F.semantic_focal_loss(z, LABELS), (d, z))
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_a_mask_reaches_both_depth_losses() -> None:
    mask = random(2, 1, 8, 9, seed=8) < 0.8
    out = AttentionDrivenLoss()(DEPTH, LOGITS, TRUTH, LABELS, mask)
    torch.testing.assert_close(out.depth_aware, F.depth_aware_loss(DEPTH, TRUTH, mask=mask))
    torch.testing.assert_close(out.joint_gradient, F.joint_gradient_loss(DEPTH, TRUTH, mask, labels=LABELS))


def per_image(weights: tuple[float, float, float] | str) -> AttentionDrivenLoss:
    return AttentionDrivenLoss(
        DepthAwareLoss(max_depth=10.0, reduction="per_image"),
        JointGradientLoss(reduction="per_image"),
        SemanticFocalLoss(reduction="per_image"),
        weights=weights,
    )


@pytest.mark.parametrize("weights", [(1.0, 0.5, 2.0), "learned"], ids=["fixed", "learned"])
def test_a_total_for_every_image_is_that_of_the_image_alone(weights: tuple[float, float, float] | str) -> None:
    truth, labels = TRUTH.repeat(2, 1, 1, 1), LABELS.repeat(2, 1, 1)
    truth[1], truth[2, :, 3:] = 0, 0
    labels[3] = -100
    loss, alone = per_image(weights), AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights=weights)
    if weights == "learned":
        with torch.no_grad():
            for x in (loss, alone):
                x.log_variances.copy_(torch.tensor([0.3, -0.2, 0.7]))
    d, z = (x.repeat(2, 1, 1, 1).requires_grad_() for x in (DEPTH, LOGITS))
    out = loss(d, z, truth, labels)
    share = torch.tensor([0.1, 2.0, 0.7, 1.3], dtype=torch.float64)
    leaves = (d, z, *loss.parameters())
    ours = torch.autograd.grad((share * out.total).sum(), leaves)
    images = [alone(d[i : i + 1], z[i : i + 1], truth[i : i + 1], labels[i : i + 1]) for i in range(4)]
    for mine, wanted in zip(out, zip(*images, strict=True), strict=True):
        torch.testing.assert_close(mine, torch.stack(wanted))
    assert out.depth_aware[1] == out.semantic_focal[3] == 0
    total = sum(part * image.total for part, image in zip(share, images, strict=True))
    for mine, wanted in zip(ours, torch.autograd.grad(total, (d, z, *alone.parameters())), strict=True):
        torch.testing.assert_close(mine, wanted)


def test_a_target_left_out_is_left_out_of_every_image() -> None:
    loss = per_image((1.0, 0.5, 2.0))
    out = loss(DEPTH, LOGITS, None, LABELS)
    torch.testing.assert_close(out.total, 2 * F.semantic_focal_loss(LOGITS, LABELS, reduction="per_image"))
    assert out.depth_aware.tolist() == out.joint_gradient.tolist() == [0, 0]
    out = loss(DEPTH, LOGITS, TRUTH, None)
    wanted = F.depth_aware_loss(DEPTH, TRUTH, max_depth=10.0, reduction="per_image")
    torch.testing.assert_close(out.total, wanted + 0.5 * F.joint_gradient_loss(DEPTH, TRUTH, reduction="per_image"))
    assert out.semantic_focal.tolist() == [0, 0]


def test_learned_weights_are_homoscedastic_uncertainty() -> None:
    loss = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights="learned")
    s = torch.tensor([0.3, -0.2, 0.7])
    with torch.no_grad():
        loss.log_variances.copy_(s)
    out = loss(DEPTH, LOGITS, TRUTH, LABELS)
    a, b, c = PARTS.tolist()
    wanted = sum(0.5 * (math.exp(-v) * part + v) for v, part in ((0.3, a), (-0.2, b)))
    wanted += math.exp(-0.7) * c + 0.5 * 0.7
    assert out.total.item() == pytest.approx(wanted, rel=1e-6)
    out.total.backward()
    slopes = [0.5 - 0.5 * math.exp(-0.3) * a, 0.5 - 0.5 * math.exp(0.2) * b, 0.5 - math.exp(-0.7) * c]
    assert loss.log_variances.grad.tolist() == pytest.approx(slopes, rel=1e-5)


def test_learned_weights_settle_where_the_loss_is_balanced() -> None:
    """d/ds (e^-s L + s) / 2 = 0 at s = log L."""
    loss = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights="learned")
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.1)
    for _ in range(600):
        optimizer.zero_grad()
        loss(DEPTH, LOGITS, TRUTH, LABELS).total.backward()
        optimizer.step()
    a, b, c = PARTS.tolist()
    assert loss.log_variances.tolist() == pytest.approx([math.log(a), math.log(b), math.log(2 * c)], abs=1e-3)


@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0), "learned"])
@pytest.mark.parametrize("missing", ["depth", "labels"])
@pytest.mark.parametrize("how", ["pixels", "None"])
def test_a_missing_target_leaves_its_losses_out(weights: object, missing: str, how: str) -> None:
    loss = AttentionDrivenLoss(weights=weights)  # type: ignore[arg-type]
    d, z = DEPTH.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    no_depth = torch.zeros_like(TRUTH) if how == "pixels" else None
    no_labels = torch.full_like(LABELS, -100) if how == "pixels" else None
    out = loss(d, z, no_depth if missing == "depth" else TRUTH, no_labels if missing == "labels" else LABELS)
    out.total.backward()
    if missing == "depth":
        assert out.depth_aware.item() == 0.0
        assert out.semantic_focal.item() == pytest.approx(PARTS[2].item())
    else:
        assert out.semantic_focal.item() == 0.0
        assert z.grad is None or not z.grad.any()
        torch.testing.assert_close(out.joint_gradient, F.joint_gradient_loss(DEPTH, TRUTH))
    if weights == "learned":
        assert loss.log_variances.grad[0 if missing == "depth" else 2].item() == 0.0


def test_one_frame_without_depth_and_one_without_labels() -> None:
    truth, labels = TRUTH.clone(), LABELS.clone()
    truth[0], labels[1] = 0.0, -100
    out = AttentionDrivenLoss()(DEPTH, LOGITS, truth, labels)
    torch.testing.assert_close(out.depth_aware, F.depth_aware_loss(DEPTH[1:], TRUTH[1:]))
    torch.testing.assert_close(out.semantic_focal, F.semantic_focal_loss(LOGITS[:1], LABELS[:1]))
    windows = F.joint_gradient_loss(DEPTH[1:], TRUTH[1:]) + F.joint_gradient_loss(
        DEPTH[:1], torch.zeros_like(TRUTH[:1]), labels=LABELS[:1]
    )
    torch.testing.assert_close(out.joint_gradient, windows)


def test_a_loss_that_is_made_takes_the_options_of_those_that_are_given() -> None:
    loss = AttentionDrivenLoss(semantic_focal=SemanticFocalLoss(ignore_index=255, reduction="per_image"))
    assert (loss.joint_gradient.ignore_index, loss.joint_gradient.reduction) == (255, "per_image")
    assert loss.depth_aware.reduction == "per_image"
    loss = AttentionDrivenLoss(joint_gradient=JointGradientLoss(ignore_index=0, upsample="bilinear"))
    assert loss.semantic_focal.ignore_index == 0
    assert (loss.depth_aware.upsample, loss.semantic_focal.upsample) == ("bilinear", "bilinear")
    labels = LABELS.where(LABELS != -100, 255)
    labels[:, :4, :5] = 255
    ours = AttentionDrivenLoss(semantic_focal=SemanticFocalLoss(ignore_index=255))
    expected = F.joint_gradient_loss(DEPTH, TRUTH, labels=labels.where(labels != 255, -100))
    torch.testing.assert_close(ours(DEPTH, LOGITS, TRUTH, labels).joint_gradient, expected)


@pytest.mark.parametrize("options", [{"upsample": "bilinear"}, {"upsample": "bilinear", "align_corners": True}])
@pytest.mark.parametrize("part", ["depth_aware", "joint_gradient", "semantic_focal"])
def test_predictions_of_another_size_are_resized_as_the_given_part_does(part: str, options: dict[str, Any]) -> None:
    kinds = {"depth_aware": DepthAwareLoss, "joint_gradient": JointGradientLoss, "semantic_focal": SemanticFocalLoss}
    loss = AttentionDrivenLoss(**{part: kinds[part](**options)})
    truth, labels = depth(2, 1, 16, 18, seed=4), labels_for(2, 16, 18, classes=4)
    resized = [
        torch.nn.functional.interpolate(x, (16, 18), mode="bilinear", align_corners="align_corners" in options)
        for x in (DEPTH, LOGITS)
    ]
    torch.testing.assert_close(loss(DEPTH, LOGITS, truth, labels), AttentionDrivenLoss()(*resized, truth, labels))


class Other(torch.nn.Module):
    """A loss of labels of somebody else, with a layer by the name of an option."""

    ignore_index, reduction = 255, "sum"

    def __init__(self) -> None:
        super().__init__()
        self.upsample = torch.nn.Upsample(scale_factor=2)

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return torch.nn.functional.cross_entropy(self.upsample(logits), labels, ignore_index=255, reduction="sum")


def test_of_a_foreign_loss_only_what_means_the_same_is_taken_over() -> None:
    loss = AttentionDrivenLoss(semantic_focal=Other())  # type: ignore[arg-type]
    assert (loss.joint_gradient.ignore_index, loss.depth_aware.reduction) == (255, "sum")
    assert loss.depth_aware.upsample is None


@pytest.mark.parametrize(
    ("part", "option", "value", "message"),
    [
        (
            "semantic_focal",
            "ignore_index",
            255,
            "one ignore_index in all its parts, got joint_gradient -100, sem.* 255",
        ),
        (
            "joint_gradient",
            "upsample",
            "bilinear",
            "one upsample in all its parts, got depth_aware None, joint_gradient",
        ),
        ("depth_aware", "align_corners", True, "one align_corners in all its parts"),
        ("depth_aware", "reduction", "none", "got 'none', 'mean', 'mean'"),
        ("joint_gradient", "reduction", "per_image", "got 'mean', 'per_image', 'mean'"),
        ("depth_aware", "distance", "huber", "distance as one of smooth_l1, l1, l2, berhu, got 'huber'"),
        ("joint_gradient", "semantic_weight", -1, "a finite semantic_weight >= 0, got -1"),
    ],
)
def test_an_option_changed_between_steps_is_checked(part: str, option: str, value: object, message: str) -> None:
    loss = AttentionDrivenLoss()
    loss(DEPTH, LOGITS, TRUTH, LABELS)
    setattr(getattr(loss, part), option, value)
    with pytest.raises(ValueError, match=f"^AttentionDrivenLoss: expected .*{message}"):
        loss(DEPTH, LOGITS, TRUTH, LABELS)
    with pytest.raises(ValueError, match=f"^AttentionDrivenLoss: expected .*{message}"):
        loss.depth_side(DEPTH, TRUTH, LABELS, None, torch.ones(3))


def test_an_option_may_be_changed_between_steps() -> None:
    loss = AttentionDrivenLoss()
    loss(DEPTH, LOGITS, TRUTH, LABELS)
    loss.depth_aware.max_depth, loss.joint_gradient.semantic_weight = 10, 0.5
    wanted = F.joint_gradient_loss(DEPTH, TRUTH, labels=LABELS, semantic_weight=0.5)
    out = loss(DEPTH, LOGITS, TRUTH, LABELS)
    torch.testing.assert_close(torch.stack(out[1:3]), torch.stack((PARTS[0], wanted)), rtol=1e-12, atol=1e-12)


def test_learned_weights_start_again() -> None:
    with torch.device("meta"):
        loss = AttentionDrivenLoss(weights="learned")
    loss.to_empty(device="cpu")
    loss.reset_parameters()
    assert loss.log_variances.tolist() == [0, 0, 0]
    AttentionDrivenLoss().reset_parameters()


def test_targets_and_mask_by_keyword() -> None:
    mask = random(2, 1, 8, 9, seed=8) < 0.8
    loss = AttentionDrivenLoss()
    by_keyword = loss(DEPTH, LOGITS, mask=mask, label_target=LABELS, depth_target=TRUTH)
    assert torch.equal(by_keyword.total, loss(DEPTH, LOGITS, TRUTH, LABELS, mask).total)
    assert torch.equal(loss(DEPTH, LOGITS, label_target=LABELS).total, loss(DEPTH, LOGITS, None, LABELS).total)


def test_copies_and_state() -> None:
    loss = AttentionDrivenLoss(semantic_focal=SemanticFocalLoss(torch.ones(4)), weights="learned")
    assert set(loss.state_dict()) == {"log_variances", "semantic_focal.weight"}
    for twin in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(twin(DEPTH, LOGITS, TRUTH, LABELS).total, loss(DEPTH, LOGITS, TRUTH, LABELS).total)
    assert "weights='learned'" in repr(loss)


def test_compiles_whole() -> None:
    torch._dynamo.reset()
    loss = AttentionDrivenLoss()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    d, z = DEPTH.float().requires_grad_(), LOGITS.float().requires_grad_()

    def gradients(function: object) -> tuple[Tensor, ...]:
        return torch.autograd.grad(function(d, z, TRUTH.float(), LABELS).total, (d, z))  # type: ignore[operator]

    for a, b in zip(gradients(compiled), gradients(loss), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AttentionDrivenLoss(weights=(1, 2)), "three weights"),
        (lambda: AttentionDrivenLoss(weights="auto"), "weights as one of learned, got 'auto'"),
        (lambda: AttentionDrivenLoss(weights=(1, -1, 1)), r"weights\[1\] >= 0"),
        (lambda: AttentionDrivenLoss(DepthAwareLoss(reduction="none")), "got 'none', 'none', 'none'"),
        (
            lambda: AttentionDrivenLoss(DepthAwareLoss(reduction="per_image"), JointGradientLoss()),
            "or three with \"per_image\", got 'per_image', 'mean', 'per_image'",
        ),
        (
            lambda: AttentionDrivenLoss(None, JointGradientLoss(), SemanticFocalLoss(ignore_index=255)),
            "one ignore_index in all its parts, got joint_gradient -100, semantic_focal 255",
        ),
        (
            lambda: AttentionDrivenLoss(DepthAwareLoss(upsample="bilinear"), JointGradientLoss()),
            "one upsample in all its parts, got depth_aware 'bilinear', joint_gradient None",
        ),
        (
            lambda: AttentionDrivenLoss(DepthAwareLoss(align_corners=True), JointGradientLoss()),
            "one align_corners in all its parts, got depth_aware True, joint_gradient False",
        ),
        (lambda: AttentionDrivenLoss()(DEPTH, LOGITS, None, None), "a depth_target or a label_target, got neither"),
    ],
)
def test_errors(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=f"AttentionDrivenLoss: expected .*{message}"):
        make()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth_aware": torch.nn.SmoothL1Loss()}, "a DepthAwareLoss that computes as such, got SmoothL1Loss"),
        ({"joint_gradient": DepthAwareLoss()}, "a JointGradientLoss that computes as such, got DepthAwareLoss"),
        ({"depth_aware": DepthAwareLoss}, "a DepthAwareLoss that computes as such, got type"),
        ({"semantic_focal": torch.nn.Identity()}, "a SemanticFocalLoss with ignore_index and reduction, got Identity"),
        ({"weights": 1.0}, 'three weights or "learned", got float'),
    ],
)
def test_parts_and_weights_of_another_kind(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=f"^AttentionDrivenLoss: expected {message}"):
        AttentionDrivenLoss(**arguments)


def test_float_labels_name_the_call_that_makes_them_integer() -> None:
    with pytest.raises(TypeError, match=r"label_target as integer class ids, got torch.float32; pass .*\.long\(\)$"):
        AttentionDrivenLoss()(DEPTH, LOGITS, TRUTH, LABELS.float())
