"""What a user may pass: each check raises one line that names the function, what it expected and what it got."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral

import torch
from torch import Tensor

from depthattn.ops.reduce import REDUCTIONS
from depthattn.ops.tracing import jit_traces

DISTANCES = ("smooth_l1", "l1", "l2")
NORMALIZERS = ("pixels", "weight")
UPSAMPLING = ("bilinear",)
RESIZE_MODES = ("bilinear", "nearest")

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)

_validation = False


def set_validation(enabled: bool) -> None:
    """Also check labels on accelerators, where the check has to wait for the device.

    On the CPU a label outside ``[0, K)`` always raises. On an accelerator it counts as ignored and is never
    used as an address; with validation on it raises there too. Turn it on to look for bad data, off to train.

    Args:
        enabled: True to check everywhere, False (the state at import) to check on the CPU only.

    Raises:
        TypeError: if ``enabled`` is not a bool.

    Example:
        >>> import depthattn
        >>> depthattn.set_validation(True)  # while looking for the batch with a bad label
        >>> depthattn.set_validation(False)
    """
    global _validation
    if not isinstance(enabled, bool):
        raise TypeError(f"set_validation: expected a bool, got {type(enabled).__name__}")
    _validation = enabled


def validates(device: torch.device) -> bool:
    """Whether values, not only shapes, are checked on ``device``."""
    return _validation or device.type == "cpu"


def shape_of(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def check_tensor(function: str, name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        raise TypeError(f"{function}: expected {name} as a torch.Tensor, got {type(value).__name__}")


def check_float(function: str, name: str, value: Tensor) -> None:
    check_tensor(function, name, value)
    if value.dtype not in _FLOATS:
        raise TypeError(f"{function}: expected {name} in float16, bfloat16, float32 or float64, got {value.dtype}")


def check_integer(function: str, name: str, value: Tensor) -> None:
    check_tensor(function, name, value)
    if value.dtype not in _INTEGERS:
        raise TypeError(f"{function}: expected {name} as an integer tensor, got {value.dtype}")


def check_device(function: str, name: str, value: Tensor, device: torch.device) -> None:
    if value.device != device:
        raise ValueError(f"{function}: expected {name} on {device} like the prediction, got {value.device}")


def check_constant(function: str, name: str, value: Tensor) -> None:
    """A tensor that the operation does not differentiate must not ask for a gradient."""
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{function}: expected {name} without a gradient, got one that requires_grad; pass {name}.detach()"
        )


def check_choice(function: str, name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{function}: expected {name} as one of {', '.join(choices)}, got {value!r}")


def check_number(
    function: str, name: str, value: object, *, above: float = -math.inf, at_least: float = -math.inf
) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(f"{function}: expected {name} as a number, got {type(value).__name__}")
    if not -math.inf < value < math.inf or value <= above or value < at_least:
        bound = f" > {above:g}" if above > -math.inf else f" >= {at_least:g}" if at_least > -math.inf else ""
        raise ValueError(f"{function}: expected a finite {name}{bound}, got {value}")


def check_bool(function: str, name: str, value: bool) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{function}: expected {name} as a bool, got {type(value).__name__}")


def check_index(function: str, name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{function}: expected {name} as an int, got {type(value).__name__}")


def check_upsample(function: str, upsample: str | None) -> None:
    if upsample is not None:
        check_choice(function, "upsample", upsample, UPSAMPLING)


def check_reduction(function: str, reduction: object) -> None:
    check_choice(function, "reduction", reduction, REDUCTIONS)


def as_maps(function: str, name: str, value: Tensor) -> Tensor:
    """View (B,1,H,W), (B,H,W) or (H,W) as (B,H,W)."""
    if value.ndim == 4 and value.shape[1] == 1:
        return value.squeeze(1)
    if value.ndim == 3:
        return value
    if value.ndim == 2:
        return value.unsqueeze(0)
    raise ValueError(f"{function}: expected {name} of shape (B,1,H,W), (B,H,W) or (H,W), got {shape_of(value)}")


def check_same_maps(function: str, name: str, value: Tensor, target: Tensor) -> None:
    if value.shape != target.shape:
        raise ValueError(
            f"{function}: expected {name} of the same size as target, (B,H,W) = {shape_of(target)}, "
            f"got {shape_of(value)}"
        )


def depth_maps(
    function: str, pred: Tensor, target: Tensor, mask: Tensor | None, upsample: str | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check a prediction, its target and mask, and view all three as (B,H,W); ``upsample`` lets ``pred`` be smaller."""
    check_float(function, "pred", pred)
    check_float(function, "target", target)
    check_device(function, "target", target, pred.device)
    check_constant(function, "target", target)
    pred = as_maps(function, "pred", pred)
    target = as_maps(function, "target", target)
    if pred.shape != target.shape and (upsample is None or pred.shape[0] != target.shape[0] or pred.numel() == 0):
        raise ValueError(
            f"{function}: expected pred and target of one size, got pred (B,H,W) = {shape_of(pred)} and target "
            f"{shape_of(target)}"
        )
    if mask is not None:
        check_tensor(function, "mask", mask)
        if mask.dtype != torch.bool:
            raise TypeError(f"{function}: expected mask as a bool tensor (True = use), got {mask.dtype}")
        check_device(function, "mask", mask, pred.device)
        mask = as_maps(function, "mask", mask)
        check_same_maps(function, "mask", mask, target)
    return pred, target, mask


def depth_aware_options(
    function: str,
    distance: str,
    beta: float,
    max_depth: float | None,
    log_offset: float,
    detach_weight: bool,
    upsample: str | None,
) -> None:
    check_choice(function, "distance", distance, DISTANCES)
    check_number(function, "beta", beta, above=0)
    if max_depth is not None:
        check_number(function, "max_depth", max_depth, above=0)
    check_number(function, "log_offset", log_offset, at_least=0)
    check_bool(function, "detach_weight", detach_weight)
    check_upsample(function, upsample)


def joint_gradient_options(function: str, semantic_weight: float, ignore_index: int, upsample: str | None) -> None:
    check_number(function, "semantic_weight", semantic_weight, at_least=0)
    check_index(function, "ignore_index", ignore_index)
    check_upsample(function, upsample)


def semantic_focal_options(
    function: str, gamma: float, ignore_index: int, normalize_by: str, upsample: str | None
) -> None:
    check_number(function, "gamma", gamma, at_least=0)
    check_index(function, "ignore_index", ignore_index)
    check_choice(function, "normalize_by", normalize_by, NORMALIZERS)
    check_upsample(function, upsample)


def semantic_maps(function: str, semantics: Tensor, target: Tensor) -> Tensor:
    """Check a semantic map, integer labels or floats, and view it as (B,H,W)."""
    check_tensor(function, "semantics", semantics)
    if semantics.dtype not in _FLOATS + _INTEGERS:
        raise TypeError(f"{function}: expected semantics as integer labels or a float map, got {semantics.dtype}")
    check_device(function, "semantics", semantics, target.device)
    semantics = as_maps(function, "semantics", semantics)
    check_same_maps(function, "semantics", semantics, target)
    return semantics


def label_maps(function: str, labels: Tensor, target: Tensor) -> Tensor:
    """Check integer labels and view them as (B,H,W)."""
    check_integer(function, "label_target", labels)
    return semantic_maps(function, labels, target)


def focal_tensors(function: str, logits: Tensor, target: Tensor, weight: Tensor | None, upsample: str | None) -> None:
    check_float(function, "logits", logits)
    check_integer(function, "target", target)
    check_device(function, "target", target, logits.device)
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ValueError(f"{function}: expected logits of shape (B,K,...) with K >= 1, got {shape_of(logits)}")
    sizes = tuple(logits.shape[2:]), tuple(target.shape[1:])
    if target.ndim != logits.ndim - 1 or target.shape[0] != logits.shape[0]:
        raise ValueError(
            f"{function}: expected target of shape (B,...) for logits (B,K,...) = {shape_of(logits)}, "
            f"got {shape_of(target)}"
        )
    if upsample is not None and logits.ndim != 4:
        raise ValueError(
            f"{function}: expected logits of shape (B,K,h,w) for upsample={upsample!r}, got {shape_of(logits)}"
        )
    if upsample is not None and 0 in (*sizes[0], *sizes[1]):
        raise ValueError(
            f"{function}: expected logits and target of at least one pixel for upsample={upsample!r}, got logits "
            f"{sizes[0]} and target {sizes[1]}"
        )
    if upsample is None and sizes[0] != sizes[1]:
        raise ValueError(
            f"{function}: expected logits and target of one size, got logits {sizes[0]} and target {sizes[1]}; "
            'upsample="bilinear" resizes the logits to the target'
        )
    if weight is not None:
        check_float(function, "weight", weight)
        check_device(function, "weight", weight, logits.device)
        check_constant(function, "weight", weight)
        if weight.shape != logits.shape[1:2]:
            raise ValueError(
                f"{function}: expected weight of shape (K,) = ({logits.shape[1]},), got {shape_of(weight)}"
            )


def _check_alike(function: str, features: Sequence[Tensor], leading: int | None) -> None:
    if isinstance(features, Tensor) or not isinstance(features, Sequence):
        raise TypeError(f"{function}: expected features as a sequence of tensors, got {type(features).__name__}")
    if not features:
        raise ValueError(f"{function}: expected at least one feature, got none")
    first = features[0]
    for index, feature in enumerate(features):
        check_float(function, f"features[{index}]", feature)
        if feature.dtype != first.dtype or feature.device != first.device:
            raise ValueError(
                f"{function}: expected features of one dtype and device, got {first.dtype} on {first.device} "
                f"and features[{index}] {feature.dtype} on {feature.device}"
            )
        if feature.ndim != first.ndim or feature.shape[:leading] != first.shape[:leading]:
            raise ValueError(
                f"{function}: expected features that fit each other, got {shape_of(first)} "
                f"and features[{index}] {shape_of(feature)}"
            )


def sharing_tensors(function: str, features: Sequence[Tensor], gates: Tensor) -> None:
    _check_alike(function, features, None)
    if features[0].ndim < 2:
        raise ValueError(f"{function}: expected features of shape (B,C,...), got {shape_of(features[0])}")
    check_float(function, "gates", gates)
    check_device(function, "gates", gates, features[0].device)
    tasks, channels = len(features), features[0].shape[1]
    if gates.shape not in ((tasks, tasks), (tasks, tasks, channels)):
        raise ValueError(
            f"{function}: expected gates of shape (T,T) = ({tasks}, {tasks}) or (T,T,C) = "
            f"({tasks}, {tasks}, {channels}), got {shape_of(gates)}"
        )


def pyramid(function: str, features: Sequence[Tensor]) -> None:
    _check_alike(function, features, 2)
    for index, feature in enumerate(features):
        if feature.ndim != 4 or 0 in feature.shape[2:]:
            raise ValueError(
                f"{function}: expected features[{index}] of shape (B,C,h,w) with h, w >= 1, got {shape_of(feature)}"
            )


def image_size(function: str, size: Sequence[int]) -> tuple[int, int]:
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"{function}: expected size as (H, W), got {size!r}")
    height, width = size
    for side in (height, width):
        # torch.export and torch.jit.trace leave sizes open, NumPy has integers of its own.
        traced = jit_traces() and isinstance(side, torch.Tensor)
        if isinstance(side, bool) or not (traced or isinstance(side, (int, torch.SymInt, Integral))):
            raise TypeError(f"{function}: expected size (H, W) as two ints, got {size!r}")
    if height < 1 or width < 1:
        raise ValueError(f"{function}: expected size (H, W) of at least one pixel each, got {tuple(size)}")
    return height, width
