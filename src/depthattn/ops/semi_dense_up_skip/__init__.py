"""The semi-dense up-skip as an operator: a sum of resized maps and its adjoint, each the other's derivative."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import load
from depthattn.ops.library import define, run_backward


def _forward(features: list[Tensor], height: int, width: int, mode: str, backend: str) -> Tensor:
    merged: Tensor = load("semi_dense_up_skip", backend).forward(features, height, width, mode)
    return merged


def _forward_fake(features: list[Tensor], height: int, width: int, mode: str, backend: str) -> Tensor:
    return features[0].new_empty(*features[0].shape[:2], height, width)


def _backward(grad: Tensor, heights: list[int], widths: list[int], mode: str, backend: str) -> list[Tensor]:
    grads: list[Tensor] = load("semi_dense_up_skip", backend).backward(grad, heights, widths, mode)
    return grads


def _backward_fake(grad: Tensor, heights: list[int], widths: list[int], mode: str, backend: str) -> list[Tensor]:
    return [grad.new_empty(*grad.shape[:2], h, w) for h, w in zip(heights, widths, strict=True)]


define(
    "semi_dense_up_skip(Tensor[] features, SymInt height, SymInt width, str mode, str backend) -> Tensor",
    _forward,
    _forward_fake,
)
define(
    "semi_dense_up_skip_backward(Tensor grad, SymInt[] heights, SymInt[] widths, str mode, str backend) -> Tensor[]",
    _backward,
    _backward_fake,
)


class SemiDenseUpSkip(Function):
    """apply(height, width, mode, backend, *features) -> (B,C,height,width)"""

    @staticmethod
    def forward(height: int, width: int, mode: str, backend: str, *features: Tensor) -> Any:
        return torch.ops.depthattn.semi_dense_up_skip(list(features), height, width, mode, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.mode, ctx.backend = inputs[2:4]
        ctx.heights = [x.shape[2] for x in inputs[4:]]
        ctx.widths = [x.shape[3] for x in inputs[4:]]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grads = run_backward(_Adjoint, grad, ctx.heights, ctx.widths, ctx.mode, ctx.backend)
        return None, None, None, None, *grads


class _Adjoint(Function):
    """apply(grad, heights, widths, mode, backend) -> one gradient per feature"""

    @staticmethod
    def forward(grad: Tensor, heights: list[int], widths: list[int], mode: str, backend: str) -> tuple[Tensor, ...]:
        return tuple(torch.ops.depthattn.semi_dense_up_skip_backward(grad, heights, widths, mode, backend))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.size = inputs[0].shape[2:]
        ctx.mode, ctx.backend = inputs[3:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return run_backward(SemiDenseUpSkip, *ctx.size, ctx.mode, ctx.backend, *grads), None, None, None, None
