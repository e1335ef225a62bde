"""Registration of kernels as PyTorch operators, and the second derivative that all of them share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.registration import _library  # noqa: E402


def _first_tensor(arguments: tuple[Any, ...]) -> Tensor:
    for value in arguments:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, list):
            return _first_tensor(tuple(value))
    raise TypeError("depthattn: expected an operator with a tensor argument, got none")


def define(schema: str, kernel: Callable[..., Any], fake: Callable[..., Any]) -> None:
    """Register ``depthattn::<schema>``, opaque to torch.compile, with ``fake`` giving the shapes of its outputs.

    The operators are kernels without derivatives; the autograd.Function beside each one owns those.
    """
    name = schema.partition("(")[0]

    @functools.wraps(kernel)
    def run(*arguments: Any) -> Any:
        # Kernels choose their own precision: a surrounding autocast must not lower a matrix product in them. They own
        # no derivatives: a direct call on a tensor that requires one must not record the steps inside.
        with torch.no_grad(), torch.autocast(_first_tensor(arguments).device.type, enabled=False):
            return kernel(*arguments)

    _library.define(schema)
    _library.impl(name, run, "CompositeExplicitAutograd")
    torch.library.register_fake(f"depthattn::{name}", fake, lib=_library)


def run_forward(function: type[Function], *arguments: Any) -> Any:
    """Run an operation as a node of the graph, or as a plain call where torch.compile traces one without gradients.

    Tracing a variadic ``forward`` that needs no gradient, torch.compile hands it a context that it does not take.
    """
    tracked = torch.is_grad_enabled() and any(isinstance(x, Tensor) and x.requires_grad for x in arguments)
    if torch.compiler.is_compiling() and not tracked:
        return function.forward(*arguments)
    return function.apply(*arguments)


def run_backward(backward: type[Function], *arguments: Any) -> Any:
    """Run a backward pass: as a node of the graph where it will be differentiated again, else as a plain call."""
    return backward.apply(*arguments) if torch.is_grad_enabled() else backward.forward(*arguments)


def vjp_of_vjp(
    formula: Callable[..., tuple[Tensor, ...]],
    primals: tuple[Tensor, ...],
    cotangents: tuple[Tensor, ...],
    grads: tuple[Tensor, ...],
) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Gradients of a backward pass: of ``formula``'s vjp, towards its cotangents and its primals.

    A hand-written backward is itself differentiated through the reference formula, to any order, because
    everything here is plain differentiable tensor code.
    """

    def backward(cotangents: tuple[Tensor, ...], primals: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        result: tuple[Tensor, ...] = torch.func.vjp(formula, *primals)[1](cotangents)
        return result

    towards_cotangents, towards_primals = torch.func.vjp(backward, cotangents, primals)[1](grads)
    return towards_cotangents, towards_primals
