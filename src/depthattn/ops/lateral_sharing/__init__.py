"""Lateral sharing as an operator on T feature maps and their gates, with first and second derivatives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import load
from depthattn.ops.lateral_sharing import reference
from depthattn.ops.library import define, run_backward, vjp_of_vjp


def _forward(features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    outputs: list[Tensor] = load("lateral_sharing", backend).forward(features, gates)
    return outputs


def _forward_fake(features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    return [torch.empty_like(x) for x in features]


def _backward(grads: list[Tensor], features: list[Tensor], gates: Tensor, backend: str) -> tuple[list[Tensor], Tensor]:
    result: tuple[list[Tensor], Tensor] = load("lateral_sharing", backend).backward(grads, features, gates)
    return result


def _backward_fake(
    grads: list[Tensor], features: list[Tensor], gates: Tensor, backend: str
) -> tuple[list[Tensor], Tensor]:
    return [torch.empty_like(x) for x in features], gates.new_empty(gates.shape)


define("lateral_sharing(Tensor[] features, Tensor gates, str backend) -> Tensor[]", _forward, _forward_fake)
define(
    "lateral_sharing_backward(Tensor[] grads, Tensor[] features, Tensor gates, str backend) -> (Tensor[], Tensor)",
    _backward,
    _backward_fake,
)


class LateralSharing(Function):
    """apply(backend, gates, *features) -> T tensors like the features; gates (T,T) or (T,T,C)."""

    @staticmethod
    def forward(backend: str, gates: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        return tuple(torch.ops.depthattn.lateral_sharing(list(features), gates, backend))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.backend = inputs[0]
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        to_gates, *to_features = run_backward(_LateralSharingBackward, ctx.backend, *grads, *ctx.saved_tensors)
        return None, to_gates, *to_features


class _LateralSharingBackward(Function):
    """apply(backend, *grads, gates, *features) -> (gradient of the gates, *gradients of the features)"""

    @staticmethod
    def forward(backend: str, *tensors: Tensor) -> tuple[Tensor, ...]:
        tasks = len(tensors) // 2
        grads, gates, features = tensors[:tasks], tensors[tasks], tensors[tasks + 1 :]
        to_features, to_gates = torch.ops.depthattn.lateral_sharing_backward(
            list(grads), list(features), gates, backend
        )
        return to_gates, *to_features

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.save_for_backward(*inputs[1:])

    @staticmethod
    def backward(ctx: Any, *second: Tensor) -> tuple[Tensor | None, ...]:
        tasks = len(ctx.saved_tensors) // 2
        grads, primals = ctx.saved_tensors[:tasks], ctx.saved_tensors[tasks:]

        def share(gates: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
            return tuple(reference.share(list(features), gates))

        to_grads, to_primals = vjp_of_vjp(share, primals, grads, second)
        return None, *to_grads, *to_primals
