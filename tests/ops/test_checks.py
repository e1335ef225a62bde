"""Every wrong argument gets one line: the function, what it expected and what it got."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import depthattn
from depthattn import functional as F

MAP = torch.ones(2, 4, 5)
LOGITS, TARGET = torch.zeros(2, 3, 4, 5), torch.zeros(2, 4, 5, dtype=torch.int64)
PAIR = [torch.ones(1, 2, 3), torch.ones(1, 2, 3)]
GATES = torch.zeros(2, 2)
PYRAMID = [torch.ones(1, 2, 3, 3), torch.ones(1, 2, 4, 4)]

VALUE_ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "sizes": (
        lambda: F.depth_aware_loss(MAP, MAP[:, 1:]),
        r"one size, got pred.*\(2, 4, 5\) and target \(2, 3, 5\); upsample=\"bilinear\" resizes",
    ),
    "rank": (lambda: F.depth_aware_loss(MAP[None, None], MAP), r"pred of shape \(B,1,H,W\).*got \(1, 1, 2, 4, 5\)"),
    "channels": (lambda: F.joint_gradient_loss(LOGITS, MAP), r"joint_gradient_loss: expected pred of shape"),
    "mask size": (lambda: F.depth_aware_loss(MAP, MAP, mask=MAP[:1] > 0), r"mask of the same size"),
    "semantics size": (lambda: F.joint_gradient_loss(MAP, MAP, semantics=MAP[:, 1:]), r"semantics of the same size"),
    "labels size": (lambda: F.joint_gradient_loss(MAP, MAP, labels=TARGET[:, 1:]), r"labels of the same size"),
    "one mask for all": (
        lambda: F.depth_aware_loss(MAP, MAP, MAP[0] > 0),
        r"got \(1, 4, 5\); pass mask\.expand_as\(target\)",
    ),
    "an index of 65 bits": (
        lambda: F.joint_gradient_loss(MAP, MAP, labels=TARGET, ignore_index=2**63),
        r"ignore_index as an int of 64 bits, got 9223372036854775808",
    ),
    "two semantic maps": (
        lambda: F.joint_gradient_loss(MAP, MAP, labels=TARGET, semantics=MAP),
        r"expected labels or semantics, got both",
    ),
    "target grad": (lambda: F.depth_aware_loss(MAP, MAP.clone().requires_grad_()), r"pass target\.detach\(\)"),
    "distance": (lambda: F.depth_aware_loss(MAP, MAP, distance="huber"), r"smooth_l1, l1, l2, berhu, got 'huber'"),
    "beta": (lambda: F.depth_aware_loss(MAP, MAP, beta=0.0), r"finite beta > 0, got 0"),
    "max_depth": (lambda: F.depth_aware_loss(MAP, MAP, max_depth=math.inf), r"finite max_depth > 0, got inf"),
    "too large for a float": (lambda: F.depth_aware_loss(MAP, MAP, beta=10**400), r"finite beta > 0, got 1000"),
    "log_offset": (lambda: F.depth_aware_loss(MAP, MAP, log_offset=-1.0), r"log_offset >= 0, got -1"),
    "reduction": (lambda: F.depth_aware_loss(MAP, MAP, reduction="avg"), r"mean, per_image, sum, none, got 'avg'"),
    "weight": (lambda: F.joint_gradient_loss(MAP, MAP, semantic_weight=-0.5), r"semantic_weight >= 0"),
    "gamma": (lambda: F.semantic_focal_loss(LOGITS, TARGET, gamma=math.nan), r"gamma >= 0, got nan"),
    "normalizer": (lambda: F.semantic_focal_loss(LOGITS, TARGET, normalize_by="area"), r"pixels, weight, got 'area'"),
    "label size": (
        lambda: F.semantic_focal_loss(LOGITS, TARGET[:, 1:]),
        r"logits \(4, 5\) and target \(3, 5\); upsample=\"bilinear\" resizes",
    ),
    "label rank": (lambda: F.semantic_focal_loss(LOGITS, TARGET[0]), r"target of shape \(B,\.\.\.\)"),
    "no classes": (lambda: F.semantic_focal_loss(LOGITS[:, :0], TARGET), r"K >= 2"),
    "one class": (
        lambda: F.semantic_focal_loss(LOGITS[:, :1], TARGET),
        r"two classes or more, got \(2, 1, 4, 5\); .*binary_cross_entropy_with_logits",
    ),
    "one class and the labels that it would have": (
        lambda: depthattn.SemanticFocalLoss()(LOGITS[:, :1], LOGITS[:, :1]),
        r"two classes or more, got \(2, 1, 4, 5\)",
    ),
    "a class weight for all": (lambda: F.semantic_focal_loss(LOGITS, TARGET, weight=2.0), r"shape \(K,\), got \(\)"),  # type: ignore[arg-type]
    "one side": (
        lambda: depthattn.UpProjection(2, 3)(PYRAMID[0], 6),
        r"^UpProjection: expected size as \(H, W\), got 6",
    ),  # type: ignore[arg-type]
    "no pixels to resize": (
        lambda: F.depth_aware_loss(MAP[:, :0], MAP, upsample="bilinear"),
        r"one size, got pred \(B,H,W\) = \(2, 0, 5\)",
    ),
    "one-hot labels": (lambda: F.semantic_focal_loss(LOGITS, LOGITS.long()), r"pass target\.argmax\(1\)"),
    "class weights of a table": (
        lambda: depthattn.SemanticFocalLoss([[1.0, 2.0]]),  # type: ignore[list-item]
        r"^SemanticFocalLoss: expected weight of shape \(K,\), got \(1, 2\)",
    ),
    "upsample rank": (
        lambda: F.semantic_focal_loss(LOGITS.flatten(2), TARGET.flatten(1), upsample="bilinear"),
        r"\(B,K,h,w\) for upsample='bilinear'",
    ),
    "class weight": (
        lambda: F.semantic_focal_loss(LOGITS, TARGET, weight=torch.ones(4)),
        r"\(K,\) = \(3,\), got \(4,\)",
    ),
    "weight grad": (
        lambda: F.semantic_focal_loss(LOGITS, TARGET, weight=torch.ones(3, requires_grad=True)),
        r"pass weight\.detach\(\)",
    ),
    "no features": (lambda: F.lateral_sharing([], GATES), r"at least one feature, got none"),
    "unlike features": (lambda: F.lateral_sharing([PAIR[0], PAIR[1][..., 1:]], GATES), r"features\[1\] \(1, 2, 2\)"),
    "gates": (lambda: F.lateral_sharing(PAIR, torch.zeros(3, 3)), r"\(2, 2\) or \(T,T,C\) = \(2, 2, 2\), got \(3, 3\)"),
    "pyramid": (lambda: F.semi_dense_up_skip([PYRAMID[0], PYRAMID[1][:, :1]], (4, 4)), r"features\[1\] \(1, 1, 4, 4\)"),
    "size": (lambda: F.semi_dense_up_skip(PYRAMID, (4, 0)), r"at least one pixel each, got \(4, 0\)"),
    "size length": (lambda: F.semi_dense_up_skip(PYRAMID, (4,)), r"size as \(H, W\)"),
    "mode": (lambda: F.semi_dense_up_skip(PYRAMID, (4, 4), mode="area"), r"bilinear, nearest, got 'area'"),
    "backend": (
        lambda: depthattn.use_backend("cuda").__enter__(),
        r"use_backend: expected one of auto, reference, cpu, triton",
    ),
    "loss option": (lambda: depthattn.DepthAwareLoss(distance="huber"), r"^DepthAwareLoss: expected distance"),
    "loss reduction": (lambda: depthattn.JointGradientLoss(reduction="avg"), r"^JointGradientLoss: expected reduction"),
    "loss gamma": (lambda: depthattn.SemanticFocalLoss(gamma=-1.0), r"^SemanticFocalLoss: expected a finite gamma"),
}

TYPE_ERRORS: dict[str, tuple[Callable[[], Any], str]] = {
    "no tensor": (lambda: F.depth_aware_loss(1.0, MAP), r"pred as a torch\.Tensor, got float"),  # type: ignore[arg-type]
    "an array": (
        lambda: F.depth_aware_loss(MAP, MAP.numpy()),  # type: ignore[arg-type]
        r"target as a torch\.Tensor, got ndarray; pass torch\.from_numpy\(target\)",
    ),
    "a sparse tensor": (
        lambda: F.depth_aware_loss(MAP[0].to_sparse(), MAP[0]),
        r"pred as a dense tensor, got torch\.sparse_coo; pass pred\.to_dense\(\)",
    ),
    "integer depth": (
        lambda: F.depth_aware_loss(MAP, MAP.long()),
        r"target in float16.*got torch\.int64; pass target\.float\(\)",
    ),
    "float mask": (
        lambda: F.depth_aware_loss(MAP, MAP, mask=MAP),
        r"mask as a bool tensor.*got torch\.float32; pass mask\.bool\(\)",
    ),
    "a mask for gradients": (
        lambda: F.joint_gradient_loss(MAP, MAP, MAP),
        r"^joint_gradient_loss: expected mask as a bool tensor",
    ),
    "labels as a mask": (lambda: depthattn.JointGradientLoss()(MAP, MAP, TARGET), r"mask as a bool tensor.*int64"),
    "integer semantics": (
        lambda: F.joint_gradient_loss(MAP, MAP, semantics=TARGET),
        r"semantics as a float map, got torch\.int64; pass class ids as labels=",
    ),
    "float labels of a joint gradient": (
        lambda: F.joint_gradient_loss(MAP, MAP, labels=MAP),
        r"labels as integer class ids, got torch\.float32; pass labels\.long\(\), or semantics=",
    ),
    "several predictions": (lambda: F.depth_aware_loss([MAP, MAP], MAP), r"got list; for several predictions"),  # type: ignore[arg-type]
    "float labels": (
        lambda: F.semantic_focal_loss(LOGITS, TARGET.float()),
        r"class ids, got torch\.float32; pass target\.long\(\)",
    ),
    "a mask of numbers": (
        lambda: F.depth_aware_loss(MAP, MAP, (MAP > 0).tolist()),  # type: ignore[arg-type]
        r"mask as a torch\.Tensor, got list$",
    ),
    "several depths of three losses": (
        lambda: depthattn.AttentionDrivenLoss()([MAP, MAP], LOGITS, MAP, TARGET),  # type: ignore[arg-type]
        r"^AttentionDrivenLoss: expected depth as a torch\.Tensor, got list; for several predictions",
    ),
    "a class weight in words": (
        lambda: F.semantic_focal_loss(LOGITS, TARGET, weight={0: 1.0}),  # type: ignore[arg-type]
        r"weight as a tensor or numbers, got \{0: 1\.0\}",
    ),
    "tasks in no order": (
        lambda: depthattn.LateralSharingUnit(tasks={"a", "b"}),  # type: ignore[arg-type]
        r"tasks as one name per task, in their order, got \{",
    ),
    "a list to project": (lambda: depthattn.UpProjection(2, 3)([MAP]), r"^UpProjection: expected x as a torch"),
    "half a size": (
        lambda: depthattn.UpProjection(2, 3)(PYRAMID[0], (5.0, 6)),  # type: ignore[arg-type]
        r"^UpProjection: expected size \(H, W\) as two ints, got \(5\.0, 6\)",
    ),
    "several logits": (
        lambda: F.semantic_focal_loss([LOGITS, LOGITS], TARGET),  # type: ignore[arg-type]
        r"logits as a torch\.Tensor, got list; for several predictions \(deep supervision\) add up",
    ),
    "class weights in words": (
        lambda: F.semantic_focal_loss(LOGITS, TARGET, weight=["1", "2", "3"]),  # type: ignore[list-item]
        r"weight as a tensor or numbers, got \['1', '2', '3'\]",
    ),
    "text": (lambda: F.depth_aware_loss(MAP, MAP, beta="1"), r"beta as a number, got str"),  # type: ignore[arg-type]
    "flag": (lambda: F.depth_aware_loss(MAP, MAP, detach_weight=1), r"detach_weight as a bool, got int"),  # type: ignore[arg-type]
    "index": (lambda: F.joint_gradient_loss(MAP, MAP, ignore_index=0.5), r"ignore_index as an int, got float"),  # type: ignore[arg-type]
    "size type": (lambda: F.semi_dense_up_skip(PYRAMID, (4.0, 3)), r"as two ints, got \(4\.0, 3\)"),  # type: ignore[list-item]
    "size flag": (lambda: F.semi_dense_up_skip(PYRAMID, (True, 3)), r"as two ints, got \(True, 3\)"),
    "one tensor": (lambda: F.lateral_sharing(MAP, GATES), r"features as a sequence of tensors, got Tensor"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", VALUE_ERRORS)
def test_value_errors(name: str) -> None:
    call, message = VALUE_ERRORS[name]
    with pytest.raises(ValueError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TYPE_ERRORS)
def test_type_errors(name: str) -> None:
    call, message = TYPE_ERRORS[name]
    with pytest.raises(TypeError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("options", [{}, {"upsample": "bilinear"}])
def test_label_images_may_have_a_channel(reduction: str, options: dict[str, Any]) -> None:
    logits, target = torch.rand(2, 3, 4, 5), torch.randint(3, (2, 8, 10) if options else (2, 4, 5))
    wanted = F.semantic_focal_loss(logits, target, reduction=reduction, **options)
    assert torch.equal(F.semantic_focal_loss(logits, target[:, None], reduction=reduction, **options), wanted)


@pytest.mark.parametrize(
    "weight", [[0.1, 2, 3.5], (0.1, 2, 3.5), np.array([0.1, 2, 3.5])], ids=["list", "tuple", "NumPy"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_weights_of_classes_may_be_numbers(weight: Any, dtype: torch.dtype) -> None:
    logits, target = torch.rand(2, 3, 4, 5, dtype=dtype), torch.randint(3, (2, 4, 5))
    wanted = F.semantic_focal_loss(logits, target, weight=torch.tensor([0.1, 2.0, 3.5], dtype=dtype))
    assert torch.equal(F.semantic_focal_loss(logits, target, weight=weight), wanted)
    loss = depthattn.SemanticFocalLoss(weight)
    assert list(loss.state_dict()) == ["weight"]
    torch.testing.assert_close(loss(logits, target), wanted)


def test_options_may_be_numpy_scalars() -> None:
    pred, labels = torch.rand(2, 1, 4, 5), torch.randint(3, (2, 8, 10))
    target = torch.rand(2, 8, 10) + 1
    for make, wanted in (
        (
            lambda n: F.depth_aware_loss(
                pred, target, beta=n(0.5), max_depth=n(9.0), log_offset=n(1.0), detach_weight=np.bool_(True),
                upsample="bilinear", align_corners=np.bool_(True),
            ),
            F.depth_aware_loss(
                pred, target, beta=0.5, max_depth=9.0, detach_weight=True, upsample="bilinear", align_corners=True
            ),
        ),
        (
            lambda n: F.joint_gradient_loss(
                target, target.square(), labels=labels, semantic_weight=n(0.5), ignore_index=np.int8(2)
            ),
            F.joint_gradient_loss(target, target.square(), labels=labels, semantic_weight=0.5, ignore_index=2),
        ),
        (
            lambda n: F.semantic_focal_loss(
                torch.cat((pred, -pred, pred), 1), labels, gamma=n(1.5), ignore_index=np.uint8(2),
                upsample="bilinear", align_corners=np.bool_(True),
            ),
            F.semantic_focal_loss(
                torch.cat((pred, -pred, pred), 1), labels, gamma=1.5, ignore_index=2, upsample="bilinear",
                align_corners=True,
            ),
        ),
    ):  # fmt: skip
        for number in (np.float32, np.float64):
            assert torch.equal(make(number), wanted)
