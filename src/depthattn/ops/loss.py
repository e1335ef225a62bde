"""What the four losses share: sums and counts of an image become a loss, and the loss a gradient.

A loss is a sum of terms, each its weight times a sum over pixels or windows, divided by how many counted. A kernel
gives the sums of every image and term, (T,B), and their counts; ops/reduction makes a loss of them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function

from depthattn.ops.backend import load
from depthattn.ops.reduction import reference
from depthattn.ops.reduction.reference import Weight
from depthattn.ops.registration import FormulaNode, below_autograd, is_batched, register, schema_of, vjp


@dataclass(frozen=True, eq=False)
class LossOperation:
    """A loss, its operators and its derivatives.

    The kernels of a backend, in the module ``ops/<name>/<backend>.py``, are two functions:

    - ``forward(*tensors, options, scales_for)`` returns sums (T,B), counts (T,B), the state and the gradient.
      ``scales_for`` is None where no gradient is asked for, and the gradient then None. Else a backend may write it at
      once: unscaled where the loss has one term, and where it has more, that of the sums times ``scales_for(counts)``,
      (T,B). It returns None where it leaves the gradient to ``backward``.
    - ``backward(scales, *tensors, state, options, wanted)`` returns the gradients of the sums times ``scales``, (T,B),
      towards the ``wanted`` ones of the differentiable tensors.

    Args:
        name: of the operator and of the folder.
        tensors: the schema of its tensors.
        options: a NamedTuple of all else, with properties ``means``, one bool for each term, and ``per_image``.
        differentiable: which tensors the kernels differentiate.
        state: what a forward pass finds out once and every other pass needs, of tensors and options, by tensor code.
        terms: the formula: differentiable sums (T,B) and counts (T,B), of tensors, state and options.
        weights: the weights of the terms, of tensors and options.
        dtype: the dtype of the arithmetic, of the tensors.
        fake_state: the state's shape and dtype where the operator runs: of tensors, options, keep and backend.
        weight_tensor: which tensor holds the weights, if one does: it has a gradient as well.
    """

    name: str
    tensors: str
    options: Any
    differentiable: tuple[int, ...]
    state: Callable[..., Tensor]
    terms: Callable[..., tuple[Tensor, Tensor]]
    weights: Callable[..., Sequence[Weight]]
    dtype: Callable[..., torch.dtype]
    fake_state: Callable[..., Tensor]
    weight_tensor: int | None = None

    def __post_init__(self) -> None:
        options = schema_of(self.options)
        register(
            f"{self.name}({self.tensors}, {options}, bool keep, str backend) "
            "-> (Tensor loss, Tensor terms, Tensor divisors, Tensor scales, Tensor state, Tensor kept)",
            kernel=self._forward_kernel,
            fake=self._forward_fake,
            formula=self._forward_formula,
            node=lambda *arguments: _LossNode.apply(self, *arguments),
        )
        register(
            f"{self.name}_backward(Tensor scales, {self.tensors}, Tensor state, {options}, bool[] wanted, "
            "str backend) -> Tensor[]",
            kernel=self._backward_kernel,
            fake=self._backward_fake,
            formula=self._backward_formula,
            node=self._backward_node,
        )

    @functools.cached_property
    def _count(self) -> int:
        return self.tensors.count("Tensor")

    def __call__(self, tensors: tuple[Tensor | None, ...], options: Any, backend: str) -> tuple[Tensor, Tensor]:
        """The loss, a scalar or (B,), and its terms without their weights, (T,) or (T,B) and without a gradient."""
        if backend == "reference":
            loss, terms, *_ = self._by_formula(tensors, options)
        else:
            loss, terms, *_ = self._operator(self.name)(*tensors, *options, False, backend)
        return loss, terms

    def _operator(self, name: str) -> Any:
        return getattr(torch.ops.depthattn, name).default

    def _split(self, arguments: Sequence[Any]) -> tuple[tuple[Any, ...], Any, tuple[Any, ...]]:
        """Tensors, options and the rest of the arguments of the forward operator."""
        count = self._count
        end = count + len(self.options._fields)
        return tuple(arguments[:count]), self.options(*arguments[count:end]), tuple(arguments[end:])

    # The forward operator

    def _forward_kernel(self, *arguments: Any) -> tuple[Tensor, ...]:
        tensors, options, (keep, backend) = self._split(arguments)
        reduction = load("reduction", backend)
        how = self.weights(tensors, options), options, self.dtype(*tensors)
        sums, counts, state, kept = load(self.name, backend).forward(
            *tensors, options, (lambda counts: reduction.scales_for(counts, *how)) if keep else None
        )
        outputs = reduction.reduced(sums, counts, *how)
        return *outputs, state, tensors[0].new_empty(0) if kept is None else kept

    def _forward_fake(self, *arguments: Any) -> tuple[Tensor, ...]:
        tensors, options, (keep, backend) = self._split(arguments)
        first, dtype = tensors[0], self.dtype(*tensors)
        batch, terms = first.shape[0], len(self.weights(tensors, options))
        shape = (batch,) if options.per_image else ()
        kept = keep and load(self.name, backend).keeps_gradient(*tensors)
        return (
            first.new_empty(shape, dtype=dtype),
            first.new_empty((terms, *shape), dtype=dtype),
            first.new_empty((terms, batch if options.per_image else 1), dtype=dtype),
            first.new_empty((terms, batch), dtype=dtype),
            self.fake_state(*tensors, options, keep, backend),
            first.new_empty(first.shape) if kept else first.new_empty(0),
        )

    def _by_formula(self, tensors: tuple[Any, ...], options: Any) -> tuple[Tensor, ...]:
        state = self.state(*tensors, options)
        sums, counts = self.terms(*tensors, state, options)
        how = self.weights(tensors, options), options, self.dtype(*tensors)
        loss, terms, divisors, scales = reference.reduced(sums, counts, *how)
        return loss, terms.detach(), divisors, scales.detach(), state, tensors[0].new_empty(0)

    def _forward_formula(self, *arguments: Any) -> tuple[Tensor, ...]:
        tensors, options, _ = self._split(arguments)
        return self._by_formula(tensors, options)

    # The backward operator

    def _unpack_backward(self, arguments: Sequence[Any]) -> tuple[Tensor, tuple[Any, ...], Tensor, Any, Any, str]:
        scales, state = arguments[0], arguments[self._count + 1]
        tensors, options, (wanted, backend) = self._split(
            (*arguments[1 : self._count + 1], *arguments[self._count + 2 :])
        )
        return scales, tensors, state, options, wanted, backend

    def _backward_kernel(self, *arguments: Any) -> list[Tensor]:
        scales, tensors, state, options, wanted, backend = self._unpack_backward(arguments)
        gradients: list[Tensor] = load(self.name, backend).backward(scales, *tensors, state, options, wanted)
        return gradients

    def _backward_fake(self, *arguments: Any) -> list[Tensor]:
        _, tensors, _, _, wanted, _ = self._unpack_backward(arguments)
        return [tensors[place].new_empty(tensors[place].shape) for place in self._wanted(wanted)]

    def _wanted(self, wanted: Sequence[bool]) -> tuple[int, ...]:
        return tuple(place for place, asked in zip(self.differentiable, wanted, strict=True) if asked)

    def _backward_formula(self, *arguments: Any) -> list[Tensor]:
        scales, tensors, state, options, wanted, _ = self._unpack_backward(arguments)

        def sums(*tensors: Any) -> Tensor:
            return self.terms(*tensors, state, options)[0]

        return list(vjp(sums, list(tensors), self._wanted(wanted), (scales,)))

    def _backward_node(self, *arguments: Any) -> list[Tensor]:
        wanted = self._unpack_backward(arguments)[4]
        places = (0, *(1 + place for place in self._wanted(wanted)))
        operator = self._operator(f"{self.name}_backward")
        return list(FormulaNode.apply(operator, self._backward_formula, places, *arguments))


class _LossNode(Function):
    """apply(operation, *arguments of the forward operator)"""

    @staticmethod
    def forward(ctx: Any, operation: LossOperation, *arguments: Any) -> Any:
        tensors, options, (_, backend) = operation._split(arguments)
        ctx.operation, ctx.options, ctx.backend = operation, options, backend
        asked = [t is not None and t.requires_grad for t in (tensors[place] for place in operation.differentiable)]
        # A gradient towards one tensor can be kept, that of the first.
        keep = asked[0] and not any(asked[1:])
        with below_autograd():
            *outputs, kept = operation._operator(operation.name)(*tensors, *options, keep, backend)
        _, terms, divisors, scales, state = outputs
        ctx.save_for_backward(*tensors, terms, divisors, scales, state)
        ctx.kept = kept if kept.numel() else None
        ctx.was_kept = ctx.kept is not None
        # The first backward pass gives the kept gradient away, so nobody else may see it.
        outputs = (*outputs, kept.new_empty(0))
        ctx.mark_non_differentiable(*outputs[1:])
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, grad: Tensor | None, *_: None) -> tuple[Tensor | None, ...]:
        operation, options = ctx.operation, ctx.options
        *tensors, terms, divisors, scales, state = ctx.saved_tensors
        result: list[Tensor | None] = [None] * (operation._count + len(options) + 2)
        if grad is None:
            return None, *result
        wanted = [ctx.needs_input_grad[1 + place] for place in operation.differentiable]
        if any(wanted):
            if operation.weight_tensor is not None and torch.is_grad_enabled():
                # The scales follow the weights, and whoever differentiates again has to see it.
                scales = reference.scales_of(operation.weights(tensors, options), divisors, scales.shape[1])
            gradients = _gradients(ctx, grad, tensors, scales, state, wanted)
            for place, gradient in zip(operation._wanted(wanted), gradients, strict=True):
                result[place] = gradient
        place = operation.weight_tensor
        if place is not None and ctx.needs_input_grad[1 + place]:
            if torch.is_grad_enabled():
                # The terms follow the prediction, and whoever differentiates again has to see it.
                sums, _ = operation.terms(*tensors, state, options)
                terms = reference.totals_of(sums, options) / divisors
            result[place] = (grad * terms.view(divisors.shape)).sum(1)
        return None, *result


def _gradients(
    ctx: Any, grad: Tensor, tensors: list[Any], scales: Tensor, state: Tensor, wanted: list[bool]
) -> list[Tensor]:
    operation, options = ctx.operation, ctx.options
    several = scales.shape[0] > 1
    # The rounding of a kept gradient, also where it is computed again: of several terms it holds the scaled sum, and
    # the gradient of the loss comes last.
    outer = grad if several and ctx.was_kept else None
    if outer is None:
        scales = grad * scales
    kept, ctx.kept = ctx.kept, None
    if kept is None or torch.is_grad_enabled():
        backward = operation._operator(f"{operation.name}_backward")
        gradients: list[Tensor] = backward(scales, *tensors, state, *options, wanted, ctx.backend)
    else:
        gradients = [kept if several else _multiplied(kept, scales[0])]
    return gradients if outer is None else [_multiplied(gradient, outer) for gradient in gradients]


def _multiplied(gradient: Tensor, numbers: Tensor) -> Tensor:
    """A gradient that nobody else has, (B,...), times one number for all images or one for each."""
    numbers = numbers.view(-1, *(1,) * (gradient.ndim - 1))
    # A tracer may show the gradient to somebody, and torch.vmap brings many numbers for one gradient.
    in_place = type(gradient) is Tensor and not torch.is_grad_enabled() and not is_batched(numbers)
    return gradient.mul_(numbers) if in_place else gradient * numbers
