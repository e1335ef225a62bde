"""Kernels as PyTorch operators with derivatives, declared in one way for all operations.

Each operator has up to four faces, and PyTorch's dispatcher picks one:

- a kernel, without derivatives;
- a fake kernel that gives the shapes of its outputs to torch.compile and torch.export;
- a node of the autograd graph, whose backward pass calls another operator;
- a formula, the same outputs in plain tensor code. Function transforms (torch.func), forward-mode derivatives and
  derivatives of a backward pass go through it, to any order.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch.autograd import Function
from torch.utils import _pytree as pytree

_library = torch.library.Library("depthattn", "DEF")
below_autograd = torch._C._AutoDispatchBelowAutograd

_SCHEMA_TYPES = {str: "str", float: "float", int: "int", bool: "bool", tuple[bool, ...]: "bool[]"}


def schema_of(options: type) -> str:
    """The fields of a NamedTuple as arguments of an operator, in their order."""
    hints = typing.get_type_hints(options)
    return ", ".join(f"{_schema_type(hints[field])} {field}" for field in options._fields)  # type: ignore[attr-defined]


def _schema_type(hint: Any) -> str:
    if isinstance(hint, types.UnionType):
        (inner,) = (part for part in typing.get_args(hint) if part is not types.NoneType)
        return _SCHEMA_TYPES[inner] + "?"
    return _SCHEMA_TYPES[hint]


def register(
    schema: str,
    *,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    formula: Callable[..., Any],
    node: Callable[..., Any],
) -> Any:
    """Register ``depthattn::<schema>`` and return it.

    Args:
        schema: name, arguments and outputs.
        kernel: what runs on tensors with data.
        fake: outputs of the right shape and dtype.
        formula: the same outputs by differentiable tensor code.
        node: applies the autograd.Function of the operator to its arguments.
    """
    name = schema.partition("(")[0]
    _library.define(schema)
    _library.impl(name, kernel, "CompositeExplicitAutograd")
    torch.library.register_fake(f"depthattn::{name}", fake, lib=_library)
    operator = getattr(torch.ops.depthattn, name).default

    def differentiate(*arguments: Any) -> Any:
        tensors = _tensors_of(arguments)
        if is_transformed(tensors):
            return formula(*arguments)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            return node(*arguments)
        with below_autograd():
            return operator(*arguments)

    def batched(info: Any, in_dims: tuple[Any, ...], *arguments: Any) -> tuple[Any, Any]:
        runs = [
            operator(*(_example(value, dim, index) for value, dim in zip(arguments, in_dims, strict=True)))
            for index in range(info.batch_size)
        ]
        outputs = pytree.tree_map(lambda *each: torch.stack(each), *runs)
        return outputs, pytree.tree_map(lambda _: 0, outputs)

    def batched_gradients(*arguments: Any) -> Any:
        level = _level_of_batched_gradients()
        places, spec = pytree.tree_flatten(arguments)
        batched = [isinstance(value, Tensor) and functorch.is_legacy_batchedtensor(value) for value in places]
        # The size is read off a batched tensor itself; -1 stands for it.
        whole = [
            torch._remove_batch_dim(value, level, -1, 0) if own else value
            for value, own in zip(places, batched, strict=True)
        ]
        size = next(value.shape[0] for value, own in zip(whole, batched, strict=True) if own)
        runs = [
            operator(*pytree.tree_unflatten(
                [value[index] if own else value for value, own in zip(whole, batched, strict=True)], spec
            ))
            for index in range(size)
        ]  # fmt: skip
        return pytree.tree_map(lambda *each: torch._add_batch_dim(torch.stack(each), 0, level), *runs)

    _library.impl(name, differentiate, "Autograd")
    # torch.autograd.grad(is_grads_batched=True) has a vmap of its own, older than torch.func's.
    _library.impl(name, batched_gradients, "Batched")
    torch.library.register_vmap(f"depthattn::{name}", batched, lib=_library)
    return operator


def _tensors_of(arguments: tuple[Any, ...]) -> list[Tensor]:
    tensors = []
    for value in arguments:
        if isinstance(value, Tensor):
            tensors.append(value)
        elif isinstance(value, list):
            tensors.extend(item for item in value if isinstance(item, Tensor))
    return tensors


def _example(value: Any, dim: Any, index: int) -> Any:
    """Number ``index`` of an argument of torch.vmap, whose batch is axis ``dim``; None where it has none."""
    if isinstance(value, list):
        return [_example(item, each, index) for item, each in zip(value, dim or [None] * len(value), strict=True)]
    return value if dim is None else value.select(dim, index)


def is_batched(tensor: Tensor) -> bool:
    """Whether torch.vmap, or the older one of torch.autograd.grad(is_grads_batched=True), made it of many tensors."""
    return functorch.is_batchedtensor(tensor) or functorch.is_legacy_batchedtensor(tensor)


def _level_of_batched_gradients() -> int:
    level = torch._C._vmapmode_increment_nesting() - 1
    torch._C._vmapmode_decrement_nesting()
    return level


def is_transformed(tensors: list[Tensor]) -> bool:
    """Whether a transform of torch.func is at work, or a tensor carries a forward-mode derivative."""
    if functorch.peek_interpreter_stack() is not None:
        return True
    # The level is global: outside of forward mode there is none, and nothing to ask the tensors.
    forward_ad = torch.autograd.forward_ad
    return forward_ad._current_level >= 0 and any(forward_ad.unpack_dual(x).tangent is not None for x in tensors)


class FormulaNode(Function):
    """Runs an operator, and differentiates it through its formula.

    apply(operator, formula, differentiable, *arguments): ``differentiable`` numbers the tensor arguments that have a
    gradient. The outputs are tensors that are all differentiable.
    """

    @staticmethod
    def forward(ctx: Any, operator: Any, formula: Any, differentiable: tuple[int, ...], *arguments: Any) -> Any:
        ctx.formula, ctx.differentiable = formula, differentiable
        ctx.places = [place for place, value in enumerate(arguments) if isinstance(value, Tensor)]
        ctx.save_for_backward(*(arguments[place] for place in ctx.places))
        ctx.others = [None if isinstance(value, Tensor) else value for value in arguments]
        with below_autograd():
            outputs = operator(*arguments)
        return tuple(outputs) if isinstance(outputs, list) else outputs

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        arguments = list(ctx.others)
        for place, value in zip(ctx.places, ctx.saved_tensors, strict=True):
            arguments[place] = value
        towards = vjp(ctx.formula, arguments, ctx.differentiable, grads)
        result: list[Tensor | None] = [None] * len(arguments)
        for place, grad in zip(ctx.differentiable, towards, strict=True):
            result[place] = grad
        return None, None, None, *result


def vjp(
    formula: Callable[..., Any], arguments: list[Any], differentiable: tuple[int, ...], grads: tuple[Tensor, ...]
) -> tuple[Tensor, ...]:
    """Gradients of ``formula``, whose outputs have the gradients ``grads``, towards some of its arguments."""

    def function(*primals: Tensor) -> tuple[Tensor, ...]:
        filled = list(arguments)
        for place, primal in zip(differentiable, primals, strict=True):
            filled[place] = primal
        outputs = formula(*filled)
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)

    result: tuple[Tensor, ...] = torch.func.vjp(function, *(arguments[place] for place in differentiable))[1](
        tuple(grads)
    )
    return result
