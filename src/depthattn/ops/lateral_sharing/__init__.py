"""Lateral sharing as operators on T feature maps (B,C,...) and their gates."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import load
from depthattn.ops.lateral_sharing import reference
from depthattn.ops.registration import FormulaNode, below_autograd, register, vjp


def shared(features: list[Tensor], gates: Tensor, backend: str) -> tuple[Tensor, ...]:
    """The T mixed features; features of one shape and dtype, gates (T,T) or (T,T,C)."""
    if backend == "reference":
        return tuple(reference.share(features, gates))
    return tuple(_FORWARD(features, gates, backend))


def _kernel(features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    outputs: list[Tensor] = load("lateral_sharing", backend).forward(features, gates)
    return outputs


def _fake(features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    return [torch.empty_like(x) for x in features]


def _formula(features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    return reference.share(features, gates)


def _backward_kernel(grads: list[Tensor], features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    to_features, to_gates = load("lateral_sharing", backend).backward(grads, features, gates)
    return [to_gates, *to_features]


def _backward_fake(grads: list[Tensor], features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    return [gates.new_empty(gates.shape), *(torch.empty_like(x) for x in features)]


def _backward_formula(grads: list[Tensor], features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    def share(gates: Tensor, *features: Tensor) -> list[Tensor]:
        return reference.share(list(features), gates)

    return list(vjp(share, [gates, *features], tuple(range(1 + len(features))), tuple(grads)))


class _Node(Function):
    """apply(backend, gates, *features)"""

    @staticmethod
    def forward(ctx: Any, backend: str, gates: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        ctx.backend = backend
        ctx.save_for_backward(gates, *features)
        with below_autograd():
            return tuple(_FORWARD(list(features), gates, backend))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gates, *features = ctx.saved_tensors
        return None, *_BACKWARD(list(grads), features, gates, ctx.backend)


def _backward_node(grads: list[Tensor], features: list[Tensor], gates: Tensor, backend: str) -> list[Tensor]:
    tasks = len(grads)

    def flat(function: Any) -> Any:
        return lambda gates, *maps: function(list(maps[:tasks]), list(maps[tasks:]), gates, backend)

    places = tuple(range(1 + 2 * tasks))
    return list(FormulaNode.apply(flat(_BACKWARD), flat(_backward_formula), places, gates, *grads, *features))


_FORWARD = register(
    "lateral_sharing(Tensor[] features, Tensor gates, str backend) -> Tensor[]",
    kernel=_kernel,
    fake=_fake,
    formula=_formula,
    node=lambda features, gates, backend: list(_Node.apply(backend, gates, *features)),
)
# The gradients of the gates and of each feature.
_BACKWARD = register(
    "lateral_sharing_backward(Tensor[] grads, Tensor[] features, Tensor gates, str backend) -> Tensor[]",
    kernel=_backward_kernel,
    fake=_backward_fake,
    formula=_backward_formula,
    node=_backward_node,
)
