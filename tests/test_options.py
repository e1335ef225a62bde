"""NumPy's scalars as options: a module keeps Python's numbers, so that it prints, stores and compiles alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from tests.models.networks import Stem
from tests.ops.cases import depth, random
from torch import Tensor, nn

from depthattn import (
    AttentionDrivenLoss,
    DepthAwareLoss,
    JointGradientLoss,
    LateralSharingUnit,
    SemanticFocalLoss,
    SemiDenseUpSkip,
    SynergyNet,
    UpProjection,
    use_backend,
)
from depthattn import functional as F
from depthattn.models import EfficientNetLite


class Python:
    """What takes a number or a string as it is."""

    int8 = int32 = int64 = uint8 = float16 = float32 = float64 = bool_ = str_ = staticmethod(lambda value: value)


PRED, TARGET = (x.float() for x in (depth(2, 3, 4, seed=1), depth(2, 6, 8, seed=2)))
LOGITS, LABELS = random(2, 3, 3, 4, seed=3).float(), torch.zeros(2, 6, 8, dtype=torch.int64)
WIDE, NARROW = random(1, 4, 3, 3, seed=4).float(), random(1, 3, 3, 3, seed=5).float()

MODULES: dict[str, tuple[Callable[[Any], nn.Module], tuple[Any, ...]]] = {
    "depth_aware": (
        lambda n: DepthAwareLoss(
            distance=n.str_("smooth_l1"), beta=n.float32(0.5), max_depth=n.int64(10), log_offset=n.float64(1.0),
            detach_weight=n.bool_(True), upsample=n.str_("bilinear"), align_corners=n.bool_(True),
            reduction=n.str_("sum"),
        ),
        (PRED, TARGET),
    ),
    "joint_gradient": (
        lambda n: JointGradientLoss(
            semantic_weight=n.float16(0.5), ignore_index=n.int8(-1), upsample="bilinear", align_corners=n.bool_(True)
        ),
        (PRED, TARGET),
    ),
    "semantic_focal": (
        lambda n: SemanticFocalLoss(
            gamma=n.float32(1.5), ignore_index=n.uint8(255), normalize_by=n.str_("weight"), upsample=n.str_("bilinear"),
            align_corners=n.bool_(True),
        ),
        (LOGITS, LABELS),
    ),
    "attention_driven": (
        lambda n: AttentionDrivenLoss(
            DepthAwareLoss(upsample="bilinear"), weights=(n.float32(1.0), n.int64(2), n.float64(0.5))
        ),
        (PRED, LOGITS, TARGET, LABELS),
    ),
    "lateral_sharing": (
        lambda n: LateralSharingUnit(
            n.int64(2), channels=(n.int32(4), n.int64(3)), gate=n.str_("channel"), init=n.float32(0.5),
            own_init=n.int8(0), channel_dim=n.int64(1),
        ),
        (WIDE, NARROW),
    ),
    "semi_dense_up_skip": (
        lambda n: SemiDenseUpSkip(
            (n.int64(4), n.int32(3)), n.int64(5), kernel_size=n.int64(3), mode=n.str_("bilinear"),
            align_corners=n.bool_(True),
        ),
        ([WIDE, NARROW], (5, 4)),
    ),
    "up_projection": (lambda n: UpProjection(n.int64(4), n.int32(2)), (WIDE,)),
    "efficientnet_lite": (
        lambda n: EfficientNetLite("efficientnet_lite0", output_stride=n.int64(8)),
        (random(1, 3, 32, 40, seed=6).float(),),
    ),
    "synergynet": (
        lambda n: SynergyNet(
            Stem(), n.int64(3), decoder_channels=(n.int32(8), n.int64(4)), up_skip=n.bool_(True),
            encoder_skips=n.bool_(True),
        ),
        (random(1, 3, 32, 40, seed=6).float(),),
    ),
}  # fmt: skip


def kept(module: nn.Module) -> list[tuple[str, type]]:
    """The types of all that its parts keep."""
    return [
        (f"{name}.{key}", type(value)) for name, part in module.named_modules() for key, value in vars(part).items()
    ]


@pytest.mark.parametrize("name", MODULES)
def test_a_module_keeps_numbers_of_python(name: str) -> None:
    make, inputs = MODULES[name]
    module, wanted = make(np).eval(), make(Python()).eval()
    module.load_state_dict(wanted.state_dict())
    assert repr(module) == repr(wanted)
    assert kept(module) == kept(wanted)
    for backend in ("auto", "reference"):
        with use_backend(backend):
            torch.testing.assert_close(module(*inputs), wanted(*inputs))


def test_the_configuration_of_a_network_is_json() -> None:
    assert json.loads(json.dumps(MODULES["synergynet"][0](np).config))["up_skip"] is True


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_a_switch_of_numpy_in_a_call(backend: str) -> None:
    def calls(yes: Any) -> list[Tensor]:
        options = {"upsample": "bilinear", "align_corners": yes}
        return [
            F.depth_aware_loss(PRED, TARGET, detach_weight=yes, **options),
            F.joint_gradient_loss(PRED, TARGET, **options),
            F.semantic_focal_loss(LOGITS, LABELS, **options),
            F.semi_dense_up_skip([WIDE], (np.int64(5), np.int32(4)), align_corners=yes),
        ]

    with use_backend(backend):
        torch.testing.assert_close(calls(np.bool_(True)), calls(True), rtol=0, atol=0)
