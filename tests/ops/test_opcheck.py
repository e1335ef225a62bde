"""torch.library.opcheck over every registered operator: schema, fakes and strides agree with the kernels."""

from __future__ import annotations

import pytest
import torch
from tests.ops.cases import LABELS, MASK, SIZE, TARGET, WEIGHT, depth, labels_for, random

from depthattn import functional  # noqa: F401  (registers the operators)
from depthattn.ops.attention_depth import AttentionDepthOptions
from depthattn.ops.depth_aware import DepthAwareOptions
from depthattn.ops.joint_gradient import JointGradientOptions
from depthattn.ops.semantic_focal import SemanticFocalOptions
from depthattn.ops.semantic_focal_upsample import SemanticFocalUpsampleOptions

PRED, FOCAL_TARGET = depth(*SIZE, seed=1), labels_for(2, 20, classes=5)
LOGITS, SCALES = random(2, 5, 20, seed=3, low=-2), random(3, 2, seed=4)
COARSE, FINE_TARGET = random(2, 5, 3, 4, seed=3, low=-2), labels_for(2, 7, 5, classes=5)
FEATURES = [random(2, 3, 4, 5, seed=s) for s in (5, 6)]
PYRAMID = [random(2, 3, 2, 3, seed=7), random(2, 3, 5, 4, seed=8)]
OPS = torch.ops.depthattn
DEPTH = DepthAwareOptions("smooth_l1", 1.0, None, 1.0, False, "per_image")
GRADIENTS = JointGradientOptions(0.7, -100, "mean")
BOTH = AttentionDepthOptions("smooth_l1", 1.0, None, 1.0, False, -100, "mean", "sum")
FOCAL = SemanticFocalOptions(2.0, -100, "pixels", "per_image")
RESIZED = SemanticFocalUpsampleOptions.of(FOCAL, False)
STATE = torch.stack((random(2, seed=4), torch.ones(2, dtype=torch.float64)))
NOTHING = random(0, seed=1)
WEIGHTS = random(3, seed=12)

CALLS = {
    "checked_labels": (FOCAL_TARGET, 5, -100),
    "depth_aware": (PRED, TARGET, MASK, *DEPTH, False, "cpu"),
    "depth_aware_backward": (SCALES[:1], PRED, TARGET, MASK, STATE, *DEPTH, [True], "cpu"),
    "joint_gradient": (PRED, TARGET, MASK, LABELS, None, *GRADIENTS, False, "cpu"),
    "joint_gradient_backward": (SCALES[:2], PRED, TARGET, None, None, PRED, NOTHING, *GRADIENTS, [True, True], "cpu"),
    "attention_depth": (PRED, TARGET, MASK, LABELS, WEIGHTS, *BOTH, False, "cpu"),
    "attention_depth_backward": (SCALES, PRED, TARGET, None, LABELS, WEIGHTS, STATE, *BOTH, [True], "cpu"),
    "semantic_focal": (LOGITS, FOCAL_TARGET, WEIGHT, *FOCAL, False, "cpu"),
    "semantic_focal_backward": (SCALES[:1], LOGITS, FOCAL_TARGET, None, NOTHING, *FOCAL, [True], "cpu"),
    "semantic_focal_upsample": (COARSE, FINE_TARGET, WEIGHT, *RESIZED, False, "cpu"),
    "semantic_focal_upsample_backward": (SCALES[:1], COARSE, FINE_TARGET, None, NOTHING, *RESIZED, [True], "cpu"),
    "lateral_sharing": (FEATURES, random(2, 2, seed=9), "cpu"),
    "lateral_sharing_backward": (FEATURES, FEATURES, random(2, 2, 3, seed=9), "cpu"),
    "semi_dense_up_skip": (PYRAMID, 6, 7, "bilinear", False, "cpu"),
    "semi_dense_up_skip_backward": (random(2, 3, 6, 7, seed=10), [2, 5], [3, 4], "bilinear", False, "cpu"),
}


def test_every_operator_is_called() -> None:
    names = {
        name.partition("::")[2] for name in torch._C._dispatch_get_all_op_names() if name.startswith("depthattn::")
    }
    # Registered by the test of a page, where it ran before.
    assert names - {"log_cosh", "log_cosh_backward"} == set(CALLS)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
def test_opcheck(name: str, dtype: torch.dtype) -> None:
    def cast(value: object) -> object:
        if isinstance(value, list) and isinstance(value[0], torch.Tensor):
            return [cast(item) for item in value]
        return value.to(dtype) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    arguments = tuple(cast(value) for value in CALLS[name])
    torch.library.opcheck(getattr(OPS, name).default, arguments)
