"""The semi-dense up-skip as operators: a sum of resized maps and its adjoint, each the other's derivative."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import load
from depthattn.ops.registration import below_autograd, register, vjp
from depthattn.ops.semi_dense_up_skip import reference


def merged(features: list[Tensor], size: tuple[int, int], mode: str, align_corners: bool, backend: str) -> Tensor:
    """The sum (B,C,H,W) of features (B,C,h,w) of one dtype, each brought to ``size``."""
    if backend == "reference":
        return reference.merge(features, size, mode, align_corners)
    result: Tensor = _FORWARD(features, *size, mode, bool(align_corners), backend)
    return result


def _kernel(features: list[Tensor], height: int, width: int, mode: str, align_corners: bool, backend: str) -> Tensor:
    result: Tensor = load("semi_dense_up_skip", backend).forward(features, height, width, mode, align_corners)
    return result


def _fake(features: list[Tensor], height: int, width: int, mode: str, align_corners: bool, backend: str) -> Tensor:
    return features[0].new_empty(*features[0].shape[:2], height, width)


def _formula(features: list[Tensor], height: int, width: int, mode: str, align_corners: bool, backend: str) -> Tensor:
    return reference.merge(features, (height, width), mode, align_corners)


def _node(features: list[Tensor], *options: Any) -> Tensor:
    result: Tensor = _Node.apply(options, *features)
    return result


class _Node(Function):
    """apply((height, width, mode, align_corners, backend), *features)"""

    @staticmethod
    def forward(ctx: Any, options: tuple[Any, ...], *features: Tensor) -> Any:
        ctx.heights, ctx.widths = [x.shape[2] for x in features], [x.shape[3] for x in features]
        ctx.how = options[2:]
        with below_autograd():
            return _FORWARD(list(features), *options)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        return None, *_BACKWARD(grad, ctx.heights, ctx.widths, *ctx.how)


def _backward_kernel(
    grad: Tensor, heights: list[int], widths: list[int], mode: str, align_corners: bool, backend: str
) -> list[Tensor]:
    grads: list[Tensor] = load("semi_dense_up_skip", backend).backward(grad, heights, widths, mode, align_corners)
    return grads


def _backward_fake(
    grad: Tensor, heights: list[int], widths: list[int], mode: str, align_corners: bool, backend: str
) -> list[Tensor]:
    return [grad.new_empty(*grad.shape[:2], h, w) for h, w in zip(heights, widths, strict=True)]


def _backward_formula(
    grad: Tensor, heights: list[int], widths: list[int], mode: str, align_corners: bool, backend: str
) -> list[Tensor]:
    def merge(*features: Tensor) -> Tensor:
        return reference.merge(features, (grad.shape[2], grad.shape[3]), mode, align_corners)

    # It is linear: its derivative is the same everywhere.
    anywhere = [grad.new_zeros(*grad.shape[:2], h, w) for h, w in zip(heights, widths, strict=True)]
    return list(vjp(merge, anywhere, tuple(range(len(anywhere))), (grad,)))


def _backward_node(grad: Tensor, *arguments: Any) -> list[Tensor]:
    return list(_Adjoint.apply(grad, *arguments))


class _Adjoint(Function):
    """apply(grad, heights, widths, mode, align_corners, backend)"""

    @staticmethod
    def forward(ctx: Any, grad: Tensor, *arguments: Any) -> tuple[Tensor, ...]:
        ctx.size, ctx.how = grad.shape[2:], arguments[2:]
        with below_autograd():
            return tuple(_BACKWARD(grad, *arguments))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return _FORWARD(list(grads), *ctx.size, *ctx.how), None, None, None, None, None


_HOW = "str mode, bool align_corners, str backend"
_FORWARD = register(
    f"semi_dense_up_skip(Tensor[] features, SymInt height, SymInt width, {_HOW}) -> Tensor",
    kernel=_kernel,
    fake=_fake,
    formula=_formula,
    node=_node,
)
# The gradient of each feature.
_BACKWARD = register(
    f"semi_dense_up_skip_backward(Tensor grad, SymInt[] heights, SymInt[] widths, {_HOW}) -> Tensor[]",
    kernel=_backward_kernel,
    fake=_backward_fake,
    formula=_backward_formula,
    node=_backward_node,
)
