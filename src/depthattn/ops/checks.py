"""What a user may pass: each check raises one line that names the function, what it expected and what it got."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from depthattn.ops.depth_aware import DepthAwareOptions
from depthattn.ops.joint_gradient import JointGradientOptions
from depthattn.ops.masking import compute_dtype
from depthattn.ops.reduction import REDUCTIONS
from depthattn.ops.semantic_focal import SemanticFocalOptions
from depthattn.ops.tracing import jit_traces

DISTANCES = ("smooth_l1", "l1", "l2", "berhu")
NORMALIZERS = ("pixels", "weight")
UPSAMPLING = ("bilinear",)

_FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_INTEGERS = (
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
    torch.uint16, torch.uint32, torch.uint64,
)  # fmt: skip


def shape_of(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


def check_tensor(function: str, name: str, value: Tensor) -> None:
    if not isinstance(value, Tensor):
        hint = ""
        if isinstance(value, (list, tuple)) and any(isinstance(item, Tensor) for item in value):
            hint = "; for several predictions (deep supervision) add up the losses of each one"
        elif isinstance(value, np.ndarray):
            hint = f"; pass torch.from_numpy({name})"
        raise TypeError(f"{function}: expected {name} as a torch.Tensor, got {type(value).__name__}{hint}")
    if value.layout != torch.strided:
        raise TypeError(f"{function}: expected {name} as a dense tensor, got {value.layout}; pass {name}.to_dense()")


def detached(function: str, name: str, value: Tensor) -> Tensor:
    check_tensor(function, name, value)
    return value.detach()


def plain(value: Tensor) -> Tensor:
    """A copy without its class where torch.compile needs it.

    The compiler cannot follow the properties of a class such as tv_tensors, nor hand such a tensor to an operator that
    is not PyTorch's own.
    """
    if torch.compiler.is_compiling() and isinstance(value, Tensor) and type(value) not in (Tensor, Parameter):
        # A copy that is called one would be optimised away.
        return value.flip(-1).flip(-1)
    return value


def check_float(function: str, name: str, value: Tensor) -> None:
    check_tensor(function, name, value)
    if value.dtype not in _FLOATS:
        hint = f"; pass {name}.float()" if value.dtype in _INTEGERS else ""
        raise TypeError(
            f"{function}: expected {name} in float16, bfloat16, float32 or float64, got {value.dtype}{hint}"
        )


def check_integer(function: str, name: str, value: Tensor, instead: str = "") -> None:
    """Class ids; ``instead`` says what else a float tensor may be passed as."""
    check_tensor(function, name, value)
    if value.dtype not in _INTEGERS:
        hint = f"; pass {name}.long(){instead}" if value.is_floating_point() else ""
        raise TypeError(f"{function}: expected {name} as integer class ids, got {value.dtype}{hint}")


def check_mask(function: str, mask: Tensor, target: Tensor) -> Tensor:
    """Check a mask of the target, and view it as (B,H,W)."""
    mask = plain(mask)
    check_tensor(function, "mask", mask)
    if mask.dtype != torch.bool:
        raise TypeError(f"{function}: expected mask as a bool tensor (True = use), got {mask.dtype}; pass mask.bool()")
    check_device(function, "mask", mask, target.device)
    mask = as_maps(function, "mask", mask)
    check_same_maps(function, "mask", mask, target)
    return mask


def check_device(function: str, name: str, value: Tensor, device: torch.device) -> None:
    if value.device != device:
        raise ValueError(f"{function}: expected {name} on {device} like the prediction, got {value.device}")


def check_constant(function: str, name: str, value: Tensor) -> None:
    """A tensor that the operation does not differentiate must not ask for a gradient."""
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{function}: expected {name} without a gradient, got one that requires_grad; pass {name}.detach()"
        )


def check_choice(function: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    """The one of ``choices`` that ``value`` is, also where that is a string of NumPy's."""
    if value not in choices:
        raise ValueError(f"{function}: expected {name} as one of {', '.join(choices)}, got {value!r}")
    return choices[choices.index(value)]


def check_number(
    function: str, name: str, value: object, *, above: float = -math.inf, at_least: float = -math.inf
) -> None:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{function}: expected {name} as a number, got {type(value).__name__}")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not -math.inf < number < math.inf or number <= above or number < at_least:
        bound = f" > {above:g}" if above > -math.inf else f" >= {at_least:g}" if at_least > -math.inf else ""
        raise ValueError(f"{function}: expected a finite {name}{bound}, got {value}")


def check_bool(function: str, name: str, value: bool) -> bool:
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{function}: expected {name} as a bool, got {type(value).__name__}")
    return bool(value)


def check_index(function: str, name: str, value: int) -> None:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{function}: expected {name} as an int, got {type(value).__name__}")
    if not -(2**63) <= value < 2**63:
        raise ValueError(f"{function}: expected {name} as an int of 64 bits, got {value}")


def upsample_options(function: str, upsample: str | None, align_corners: bool) -> tuple[str | None, bool]:
    if upsample is not None:
        upsample = check_choice(function, "upsample", upsample, UPSAMPLING)
    return upsample, check_bool(function, "align_corners", align_corners)


def check_reduction(function: str, reduction: object) -> str:
    return check_choice(function, "reduction", reduction, REDUCTIONS)


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
        one_for_all = value.shape[0] == 1 and value.shape[1:] == target.shape[1:]
        hint = f"; pass {name}.expand_as(target)" if one_for_all else ""
        raise ValueError(
            f"{function}: expected {name} of the same size as target, (B,H,W) = {shape_of(target)}, "
            f"got {shape_of(value)}{hint}"
        )


def depth_maps(
    function: str, pred: Tensor, target: Tensor, mask: Tensor | None, *upsample: str | None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check a prediction, its target and mask, and view all three as (B,H,W).

    ``upsample`` is that option of the function, where it has one; set, it lets ``pred`` be smaller.
    """
    pred, target = plain(pred), plain(target)
    check_float(function, "pred", pred)
    check_float(function, "target", target)
    check_device(function, "target", target, pred.device)
    check_constant(function, "target", target)
    pred = as_maps(function, "pred", pred)
    target = as_maps(function, "target", target)
    resizes = any(upsample) and pred.shape[0] == target.shape[0] and 0 not in (*pred.shape[1:], *target.shape[1:])
    if pred.shape != target.shape and not resizes:
        raise ValueError(
            f"{function}: expected pred and target of one size, got pred (B,H,W) = {shape_of(pred)} and target "
            f"{shape_of(target)}"
            + ('; upsample="bilinear" resizes the prediction' if upsample and pred.shape[0] == target.shape[0] else "")
        )
    return pred, target, None if mask is None else check_mask(function, mask, target)


def depth_aware_options(
    function: str,
    distance: str,
    beta: float,
    max_depth: float | None,
    log_offset: float,
    detach_weight: bool,
    reduction: str,
) -> DepthAwareOptions:
    distance = check_choice(function, "distance", distance, DISTANCES)
    check_number(function, "beta", beta, above=0)
    if max_depth is not None:
        check_number(function, "max_depth", max_depth, above=0)
    check_number(function, "log_offset", log_offset, at_least=0)
    detach_weight = check_bool(function, "detach_weight", detach_weight)
    reduction = check_reduction(function, reduction)
    maximum = None if max_depth is None else float(max_depth)
    return DepthAwareOptions(distance, float(beta), maximum, float(log_offset), detach_weight, reduction)


def joint_gradient_options(
    function: str, semantic_weight: float, ignore_index: int, reduction: str
) -> JointGradientOptions:
    check_number(function, "semantic_weight", semantic_weight, at_least=0)
    check_index(function, "ignore_index", ignore_index)
    reduction = check_reduction(function, reduction)
    return JointGradientOptions(float(semantic_weight), int(ignore_index), reduction)


def semantic_focal_options(
    function: str, gamma: float, ignore_index: int, normalize_by: str, reduction: str
) -> SemanticFocalOptions:
    check_number(function, "gamma", gamma, at_least=0)
    check_index(function, "ignore_index", ignore_index)
    normalize_by = check_choice(function, "normalize_by", normalize_by, NORMALIZERS)
    reduction = check_reduction(function, reduction)
    return SemanticFocalOptions(float(gamma), int(ignore_index), normalize_by, reduction)


def semantic_maps(
    function: str, labels: Tensor | None, semantics: Tensor | None, target: Tensor
) -> tuple[Tensor | None, Tensor | None]:
    """Check integer labels or a float map, of which there may be one, and view them as (B,H,W)."""
    if labels is not None and semantics is not None:
        raise ValueError(f"{function}: expected labels or semantics, got both")
    if labels is not None:
        return label_maps(function, "labels", labels, target, ", or semantics= for a map that is taken literally"), None
    if semantics is not None:
        semantics = plain(semantics)
        check_tensor(function, "semantics", semantics)
        if semantics.dtype in _INTEGERS:
            raise TypeError(
                f"{function}: expected semantics as a float map, got {semantics.dtype}; pass class ids as labels="
            )
        check_float(function, "semantics", semantics)
        return None, _like_target(function, "semantics", semantics, target)
    return None, None


def label_maps(function: str, name: str, labels: Tensor, target: Tensor, instead: str = "") -> Tensor:
    """Check integer labels and view them as (B,H,W)."""
    labels = plain(labels)
    check_integer(function, name, labels, instead)
    return _like_target(function, name, labels, target)


def _like_target(function: str, name: str, value: Tensor, target: Tensor) -> Tensor:
    check_device(function, name, value, target.device)
    value = as_maps(function, name, value)
    check_same_maps(function, name, value, target)
    return value


def class_weight(function: str, weight: Tensor | Sequence[float] | None, like: Tensor | None = None) -> Tensor | None:
    """Check the weights of the classes, and make numbers a tensor: of the arithmetic of ``like``, if that is given."""
    if weight is None:
        return None
    if not isinstance(weight, Tensor):
        dtype, device = (torch.get_default_dtype(), None) if like is None else (compute_dtype(like), like.device)
        try:
            weight = torch.tensor(weight, dtype=dtype, device=device)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(f"{function}: expected weight as a tensor or numbers, got {weight!r}") from None
    check_float(function, "weight", weight)
    check_constant(function, "weight", weight)
    if weight.ndim != 1:
        raise ValueError(f"{function}: expected weight of shape (K,), got {shape_of(weight)}")
    return weight


def focal_tensors(
    function: str,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | Sequence[float] | None,
    upsample: str | None,
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Check logits (B,K,...), labels (B,...) or (B,1,...) and the weights of the classes; labels as (B,...)."""
    logits, target = plain(logits), plain(target)
    check_float(function, "logits", logits)
    if logits.ndim < 2 or logits.shape[1] == 0:
        raise ValueError(f"{function}: expected logits of shape (B,K,...) with K >= 2, got {shape_of(logits)}")
    if logits.shape[1] == 1:
        raise ValueError(
            f"{function}: expected logits of two classes or more, got {shape_of(logits)}; for one of two classes pass "
            "torch.cat((torch.zeros_like(logits), logits), 1), or use "
            "torch.nn.functional.binary_cross_entropy_with_logits"
        )
    check_integer(function, "target", target)
    check_device(function, "target", target, logits.device)
    if target.ndim == logits.ndim and target.shape[1] == 1:
        target = target.squeeze(1)
    sizes = tuple(logits.shape[2:]), tuple(target.shape[1:])
    if target.ndim != logits.ndim - 1 or target.shape[0] != logits.shape[0]:
        hint = "; pass target.argmax(1)" if target.shape[:2] == logits.shape[:2] else ""
        raise ValueError(
            f"{function}: expected target of shape (B,...) for logits (B,K,...) = {shape_of(logits)}, "
            f"got {shape_of(target)}{hint}"
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
    weight = class_weight(function, weight, logits)
    if weight is not None:
        check_device(function, "weight", weight, logits.device)
        if weight.shape != logits.shape[1:2]:
            raise ValueError(
                f"{function}: expected weight of shape (K,) = ({logits.shape[1]},), got {shape_of(weight)}"
            )
    return logits, target, weight


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
