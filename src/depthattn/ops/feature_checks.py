"""What a user may pass to the layers: features and sizes. The errors are those of :mod:`depthattn.ops.checks`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from depthattn.ops import checks

RESIZE_MODES = ("bilinear", "nearest")


def _alike(function: str, features: Sequence[Tensor], leading: int | None) -> list[Tensor]:
    if isinstance(features, Tensor) or not isinstance(features, Sequence):
        raise TypeError(f"{function}: expected features as a sequence of tensors, got {type(features).__name__}")
    if not features:
        raise ValueError(f"{function}: expected at least one feature, got none")
    features = [checks.plain(feature) for feature in features]
    first = features[0]
    for index, feature in enumerate(features):
        checks.check_float(function, f"features[{index}]", feature)
        if feature.device != first.device:
            raise ValueError(
                f"{function}: expected features on one device, got {first.device} and features[{index}] on "
                f"{feature.device}"
            )
        if feature.ndim != first.ndim or feature.shape[:leading] != first.shape[:leading]:
            raise ValueError(
                f"{function}: expected features that fit each other, got {checks.shape_of(first)} "
                f"and features[{index}] {checks.shape_of(feature)}"
            )
    return features


def sharing_tensors(function: str, features: Sequence[Tensor], gates: Tensor) -> list[Tensor]:
    features = _alike(function, features, None)
    if features[0].ndim < 2:
        raise ValueError(f"{function}: expected features of shape (B,C,...), got {checks.shape_of(features[0])}")
    checks.check_float(function, "gates", gates)
    checks.check_device(function, "gates", gates, features[0].device)
    tasks, channels = len(features), features[0].shape[1]
    if gates.shape not in ((tasks, tasks), (tasks, tasks, channels)):
        raise ValueError(
            f"{function}: expected gates of shape (T,T) = ({tasks}, {tasks}) or (T,T,C) = "
            f"({tasks}, {tasks}, {channels}), got {checks.shape_of(gates)}"
        )
    return features


def resize_options(function: str, mode: str, align_corners: bool) -> tuple[str, bool]:
    mode = checks.check_choice(function, "mode", mode, RESIZE_MODES)
    align_corners = checks.check_bool(function, "align_corners", align_corners)
    if align_corners and mode != "bilinear":
        raise ValueError(f'{function}: expected mode="bilinear" for align_corners=True, got {mode!r}')
    return mode, align_corners


def pyramid(function: str, features: Sequence[Tensor]) -> list[Tensor]:
    features = _alike(function, features, 2)
    for index, feature in enumerate(features):
        if feature.ndim != 4 or 0 in feature.shape[2:]:
            raise ValueError(
                f"{function}: expected features[{index}] of shape (B,C,h,w) with h, w >= 1, got "
                f"{checks.shape_of(feature)}"
            )
    return features
