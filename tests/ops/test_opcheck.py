"""torch.library.opcheck over every registered operator: schema, fakes and strides agree with the kernels."""

from __future__ import annotations

import pytest
import torch
from tests.ops.cases import LABELS, MASK, SIZE, TARGET, WEIGHT, depth, labels_for, random

from depthattn import functional  # noqa: F401  (registers the operators)

PRED, FOCAL_TARGET = depth(*SIZE, seed=1), labels_for(2, 20, classes=5)
LOGITS, SCALE = random(2, 5, 20, seed=3, low=-2), random(2, seed=4)
COARSE, FINE_TARGET = random(2, 5, 3, 4, seed=3, low=-2), labels_for(2, 7, 5, classes=5)
FEATURES = [random(2, 3, 4, 5, seed=s) for s in (5, 6)]
PYRAMID = [random(2, 3, 2, 3, seed=7), random(2, 3, 5, 4, seed=8)]
DEPTH_OPTIONS = ("smooth_l1", 1.0)
OPS = torch.ops.depthattn

CALLS = {
    "depth_aware": (PRED, TARGET, MASK, *DEPTH_OPTIONS, None, 1.0, False, True, "eager"),
    "depth_aware_backward": (SCALE, PRED, TARGET, MASK, SCALE, *DEPTH_OPTIONS, 1.0, False, "eager"),
    "joint_gradient": (PRED, TARGET, MASK, LABELS, -100, True, "eager"),
    "joint_gradient_backward": (SCALE, SCALE, PRED, TARGET, None, PRED, -100, True, "eager"),
    "attention_depth": (
        *(PRED, TARGET, MASK, LABELS, random(3, seed=12)),
        *(*DEPTH_OPTIONS, None, 1.0, False, -100, [True, True, False], True, True, "eager"),
    ),
    "attention_depth_backward": (
        *(random(3, 2, seed=12), PRED, TARGET, None, LABELS, SCALE),
        *(*DEPTH_OPTIONS, 1.0, False, -100, "eager"),
    ),
    "semantic_focal": (LOGITS, FOCAL_TARGET, WEIGHT, 2.0, -100, "gradient", "eager"),
    "semantic_focal_backward": (SCALE, LOGITS, FOCAL_TARGET, None, None, 2.0, -100, "eager"),
    "semantic_focal_upsample": (COARSE, FINE_TARGET, WEIGHT, 2.0, -100, "gradient", "eager"),
    "semantic_focal_upsample_backward": (SCALE, COARSE, FINE_TARGET, None, None, 2.0, -100, "eager"),
    "checked_labels": (FOCAL_TARGET, 5, -100),
    "lateral_sharing": (FEATURES, random(2, 2, seed=9), "cpu"),
    "lateral_sharing_backward": (FEATURES, FEATURES, random(2, 2, 3, seed=9), "cpu"),
    "semi_dense_up_skip": (PYRAMID, 6, 7, "bilinear", False, "cpu"),
    "semi_dense_up_skip_backward": (random(2, 3, 6, 7, seed=10), [2, 5], [3, 4], "bilinear", False, "cpu"),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_opcheck(name: str, dtype: torch.dtype) -> None:
    def cast(value: object) -> object:
        if isinstance(value, list) and isinstance(value[0], torch.Tensor):
            return [cast(item) for item in value]
        return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    arguments = tuple(cast(value) for value in CALLS[name])
    torch.library.opcheck(getattr(OPS, name).default, arguments)
