"""Calls of the Triton modules on tensors without memory: every kernel, dtype and compile-time branch that counts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from depthattn.ops.attention_depth import AttentionDepthOptions
from depthattn.ops.depth_aware import DepthAwareOptions
from depthattn.ops.joint_gradient import JointGradientOptions
from depthattn.ops.semantic_focal import SemanticFocalOptions
from depthattn.ops.semantic_focal_upsample import SemanticFocalUpsampleOptions

HALF, BRAIN, SINGLE, DOUBLE = torch.float16, torch.bfloat16, torch.float32, torch.float64


def _empty(*shape: int, dtype: torch.dtype) -> Tensor:
    return torch.empty(*shape, dtype=dtype, device="meta")


def _depth_aware(dtype: torch.dtype, distance: str, masked: bool, width: int = 640) -> Callable[[Any], object]:
    wide = DOUBLE if dtype == DOUBLE else SINGLE
    pred, target = (_empty(8, 480, width, dtype=dtype) for _ in range(2))
    mask = _empty(8, 480, width, dtype=torch.bool) if masked else None
    options = DepthAwareOptions(distance, 1.0, None, 0.0 if distance == "l1" else 1.0, False, "mean")

    def call(module: Any) -> None:
        state = module.forward(pred, target, mask, options, None)[2]
        module.backward(_empty(1, 8, dtype=wide), pred, target, mask, state, options, [True])

    return call


def _joint_gradient(
    dtype: torch.dtype, semantics_dtype: torch.dtype | None, masked: bool, width: int = 640
) -> Callable[[Any], object]:
    wide = DOUBLE if DOUBLE in (dtype, semantics_dtype) else SINGLE
    pred, target = (_empty(8, 480, width, dtype=dtype) for _ in range(2))
    mask = _empty(8, 480, width, dtype=torch.bool) if masked else None
    given = None if semantics_dtype is None else _empty(8, 480, width, dtype=semantics_dtype)
    literal = given is not None and given.is_floating_point()
    tensors = pred, target, mask, *((None, given) if literal else (given, None))
    options = JointGradientOptions(1.0, -100, "mean")

    def call(module: Any) -> None:
        state = module.forward(*tensors, options, None)[2]
        scales = _empty(1 if given is None else 2, 8, dtype=wide)
        module.backward(scales, *tensors, state, options, [True, literal])

    return call


def _attention_depth(
    dtype: torch.dtype, labels_dtype: torch.dtype | None, masked: bool, distance: str = "smooth_l1"
) -> Callable[[Any], object]:
    wide = DOUBLE if dtype == DOUBLE else SINGLE
    pred, target = (_empty(8, 480, 640, dtype=dtype) for _ in range(2))
    mask = _empty(8, 480, 640, dtype=torch.bool) if masked else None
    labels = None if labels_dtype is None else _empty(8, 480, 640, dtype=labels_dtype)
    terms = 2 if labels is None else 3
    tensors = pred, target, mask, labels, _empty(terms, dtype=wide)
    options = AttentionDepthOptions(distance, 1.0, 10.0, 1.0, False, -100, "mean", "mean")

    def call(module: Any) -> None:
        state = module.forward(*tensors, options, None)[2]
        module.backward(_empty(terms, 8, dtype=wide), *tensors, state, options, [True])

    return call


def _semantic_focal(
    dtype: torch.dtype, classes: int, gamma: float, weighted: bool, channels_last: bool = False
) -> Callable[[Any], object]:
    wide = DOUBLE if dtype == DOUBLE else SINGLE
    logits = _empty(2, classes, 480 * 640, dtype=dtype)
    if channels_last:
        logits = _empty(2, 480 * 640, classes, dtype=dtype).transpose(1, 2)
    target = _empty(2, 480 * 640, dtype=torch.int64)
    weight = _empty(classes, dtype=wide) if weighted else None
    options = SemanticFocalOptions(gamma, -100, "weight" if weighted else "pixels", "mean")

    def call(module: Any) -> None:
        state = module.forward(logits, target, weight, options, None)[2]
        module.backward(_empty(1, 2, dtype=wide), logits, target, weight, state, options, [True])

    return call


def _semantic_focal_upsample(
    dtype: torch.dtype,
    classes: int,
    gamma: float,
    small: tuple[int, int] = (120, 160),
    weighted: bool = True,
    align_corners: bool = False,
    memory_format: torch.memory_format = torch.contiguous_format,
) -> Callable[[Any], object]:
    wide = DOUBLE if dtype == DOUBLE else SINGLE
    logits = torch.empty(2, classes, *small, dtype=dtype, device="meta", memory_format=memory_format)
    target = _empty(2, 480, 640, dtype=torch.int64)
    weight = _empty(classes, dtype=wide) if weighted else None
    options = SemanticFocalUpsampleOptions(gamma, -100, "weight" if weighted else "pixels", "mean", align_corners)

    def call(module: Any) -> None:
        if not weighted:
            module.forward(logits, target, weight, options, None)
        state = module.forward(logits, target, weight, options, lambda counts: counts)[2]
        module.backward(_empty(1, 2, dtype=wide), logits, target, weight, state, options, [True])

    return call


def _lateral_sharing(
    dtype: torch.dtype, tasks: int, per_channel: bool, memory_format: torch.memory_format = torch.contiguous_format
) -> Callable[[Any], object]:
    features = [
        torch.empty(4, 128, 60, 80, dtype=dtype, device="meta", memory_format=memory_format) for _ in range(tasks)
    ]
    gates = _empty(tasks, tasks, *([128] if per_channel else []), dtype=dtype)

    def call(module: Any) -> None:
        module.forward(features, gates)
        module.backward(features, features, gates)

    return call


def _semi_dense_up_skip(
    dtype: torch.dtype, mode: str, levels: list[tuple[int, int]], channels: int = 64, align_corners: bool = False
) -> Callable[[Any], object]:
    features = [_empty(2, channels, *size, dtype=dtype) for size in levels]
    grad = _empty(2, channels, 120, 160, dtype=dtype)

    def call(module: Any) -> None:
        module.forward(features, 120, 160, mode, align_corners)
        module.backward(grad, [h for h, _ in levels], [w for _, w in levels], mode, align_corners)

    return call


PYRAMID = [(8, 10), (15, 20), (30, 40), (60, 80), (120, 160)]

CALLS: dict[str, dict[str, Callable[[Any], object]]] = {
    "depth_aware": {
        "fp32 smooth_l1": _depth_aware(SINGLE, "smooth_l1", True),
        "fp32 l2": _depth_aware(SINGLE, "l2", False, 637),
        "fp32 berhu": _depth_aware(SINGLE, "berhu", False),
        "fp64 smooth_l1": _depth_aware(DOUBLE, "smooth_l1", True),
        "fp16 l1": _depth_aware(HALF, "l1", False),
        "bf16 smooth_l1": _depth_aware(BRAIN, "smooth_l1", False),
    },
    "joint_gradient": {
        "fp32 labels": _joint_gradient(SINGLE, torch.int64, False),
        "fp32 map masked": _joint_gradient(SINGLE, SINGLE, True, 637),
        "fp64 map": _joint_gradient(DOUBLE, DOUBLE, False),
        "fp16 bytes": _joint_gradient(HALF, torch.uint8, False),
        "bf16 alone": _joint_gradient(BRAIN, None, False),
    },
    "attention_depth": {
        "fp32 labels": _attention_depth(SINGLE, torch.int64, False),
        "fp32 masked": _attention_depth(SINGLE, None, True, "l2"),
        "fp64 labels": _attention_depth(DOUBLE, torch.int64, False),
        "fp16 bytes": _attention_depth(HALF, torch.uint8, False, "l1"),
        "bf16 labels": _attention_depth(BRAIN, torch.int64, True),
    },
    "semantic_focal": {
        "fp32 40": _semantic_focal(SINGLE, 40, 2.0, True),
        "fp32 channels last": _semantic_focal(SINGLE, 40, 2.0, False, True),
        "fp64 128": _semantic_focal(DOUBLE, 128, 0.5, True),
        "fp16 19": _semantic_focal(HALF, 19, 2.0, False),
        "fp64 channels last": _semantic_focal(DOUBLE, 40, 2.0, False, True),
        "bf16 150": _semantic_focal(BRAIN, 150, 1.0, False),
    },
    "semantic_focal_upsample": {
        "fp32 40": _semantic_focal_upsample(SINGLE, 40, 2.0),
        "bf16 150 to any ratio": _semantic_focal_upsample(BRAIN, 150, 1.0, (33, 41), weighted=False),
        "fp32 40 corners": _semantic_focal_upsample(SINGLE, 40, 2.0, align_corners=True),
        "fp64 40": _semantic_focal_upsample(DOUBLE, 40, 0.5),
        "fp16 19 down": _semantic_focal_upsample(HALF, 19, 2.0, (960, 1280)),
        "fp32 21 from one pixel": _semantic_focal_upsample(SINGLE, 21, 2.0, (1, 1)),
        "fp16 40 channels last": _semantic_focal_upsample(HALF, 40, 2.0, memory_format=torch.channels_last),
    },
    "lateral_sharing": {
        "fp32 2": _lateral_sharing(SINGLE, 2, False),
        "fp32 8 per channel": _lateral_sharing(SINGLE, 8, True),
        "fp64 3": _lateral_sharing(DOUBLE, 3, False),
        "fp16 2 per channel, channels last": _lateral_sharing(HALF, 2, True, torch.channels_last),
        "bf16 4 per channel": _lateral_sharing(BRAIN, 4, True),
    },
    "semi_dense_up_skip": {
        "fp32 pyramid": _semi_dense_up_skip(SINGLE, "bilinear", PYRAMID),
        "fp64 pyramid": _semi_dense_up_skip(DOUBLE, "bilinear", PYRAMID),
        "fp16 nearest": _semi_dense_up_skip(HALF, "nearest", PYRAMID),
        "fp32 corners": _semi_dense_up_skip(SINGLE, "bilinear", PYRAMID, align_corners=True),
        "bf16 one to many": _semi_dense_up_skip(BRAIN, "bilinear", [(1, 1), (240, 320)], 1),
    },
}
