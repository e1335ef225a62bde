"""Function transforms of every operation against its formula: eager and compiled, never a silent zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.ops.cases import MASK, ONE_OF_EACH, SIZE, TARGET, Case, depth, random
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap

from depthattn import functional as F

Loss = Callable[..., Tensor]


def _scalar(function: Loss) -> Loss:
    """A sum with weights that no two elements share."""

    def scalar(*inputs: Tensor) -> Tensor:
        output = function(*inputs).flatten()
        return (output * torch.linspace(0.5, 1.5, len(output), dtype=output.dtype)).sum()

    return scalar


class _Bias(nn.Module):
    """An operation behind a parameter, for functional_call."""

    def __init__(self, function: Loss) -> None:
        super().__init__()
        self.function = function
        self.bias = nn.Parameter(torch.zeros((), dtype=torch.float64))

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(inputs[0] + self.bias, *inputs[1:])


def _call(module: _Bias, inputs: tuple[Tensor, ...]) -> Tensor:
    bias = torch.full_like(inputs[0].sum(), 0.1)
    return grad(lambda bias: functional_call(module, {"bias": bias}, inputs))(bias)


def _batches(inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(torch.stack((x, 1.25 * x)) for x in inputs)


TRANSFORMS: dict[str, Callable[[Loss, tuple[Tensor, ...]], Any]] = {
    "grad": lambda f, x: grad(f, argnums=tuple(range(len(x))))(*x),
    "vjp": lambda f, x: vjp(f, *x)[1](torch.tensor(2.0, dtype=torch.float64)),
    "jvp": lambda f, x: jvp(f, x, tuple((1 + t).sin() for t in x)),
    "vmap": lambda f, x: vmap(f)(*_batches(x)),
    "vmap(grad)": lambda f, x: vmap(grad(f))(*_batches(x)),
    "jacrev": lambda f, x: jacrev(f)(*x),
    "hessian": lambda f, x: hessian(f)(*x),
    "functional_call": lambda f, x: _call(_Bias(f), x),
}


def assert_same(ours: Any, theirs: Any) -> None:
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def _align(pred: Tensor) -> Tensor:
    return F.align_scale_shift(pred, TARGET.to(pred.dtype), MASK)


EIGHT = [*ONE_OF_EACH, Case("align_scale_shift", lambda dtype: (depth(*SIZE, seed=1),), _align)]


@pytest.mark.parametrize("case", EIGHT, ids=[case.name for case in EIGHT])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_eager(case: Case, name: str) -> None:
    inputs = case.inputs(torch.float64, requires_grad=False)
    assert_same(TRANSFORMS[name](_scalar(case.run), inputs), TRANSFORMS[name](_scalar(case.formula), inputs))


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=[case.name for case in ONE_OF_EACH])
def test_compiled(case: Case) -> None:
    """One graph for several transforms."""
    torch._dynamo.reset()
    inputs = case.inputs(torch.float64, requires_grad=False)
    # One graph takes the compiler minutes with all of them in it: make test-slow compiles each by itself.
    names = ["grad", "jvp", "vmap(grad)"]
    # A module cannot be made inside of a graph.
    module = _Bias(_scalar(case.run))

    @torch.compile(fullgraph=True, backend="aot_eager")
    def every(*inputs: Tensor) -> dict[str, Any]:
        results = {name: TRANSFORMS[name](_scalar(case.run), inputs) for name in names}
        return results | {"functional_call": _call(module, inputs)}

    results = every(*inputs)
    for name, result in results.items():
        assert_same(result, TRANSFORMS[name](_scalar(case.formula), inputs))


@pytest.mark.slow
@pytest.mark.parametrize("case", EIGHT, ids=[case.name for case in EIGHT])
@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.filterwarnings("ignore")  # Of the compiler's own modules.
def test_compiled_one_by_one(case: Case, name: str) -> None:
    """The whole table, by the default compiler."""
    torch._dynamo.reset()
    inputs = case.inputs(torch.float64, requires_grad=False)
    module = _Bias(_scalar(case.run))

    @torch.compile(fullgraph=True)
    def transformed(*inputs: Tensor) -> Any:
        return _call(module, inputs) if name == "functional_call" else TRANSFORMS[name](_scalar(case.run), inputs)

    assert_same(transformed(*inputs), TRANSFORMS[name](_scalar(case.formula), inputs))


@pytest.mark.parametrize("case", EIGHT, ids=[case.name for case in EIGHT])
def test_many_gradients_of_one_output(case: Case) -> None:
    """torch.vmap over a backward pass: is_grads_batched, which torch.autograd.functional uses for vectorize=True."""
    results = []
    for function in (case.run, case.formula):
        inputs = case.inputs(torch.float64)
        output = function(*inputs)
        rows = random(3, *output.shape, seed=8, low=-1)
        results.append(torch.autograd.grad(output, inputs, rows, is_grads_batched=True, retain_graph=True))
        each = zip(*(torch.autograd.grad(output, inputs, row, retain_graph=True) for row in rows), strict=True)
        assert_same(results[-1], tuple(torch.stack(grads) for grads in each))
    assert_same(*results)


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=[case.name for case in ONE_OF_EACH])
def test_forward_mode_without_torch_func(case: Case) -> None:
    inputs = case.inputs(torch.float64, requires_grad=False)
    tangents = tuple(random(*x.shape, seed=5, low=-1) for x in inputs)
    results = []
    for function in (case.run, case.formula):
        with torch.autograd.forward_ad.dual_level():
            duals = [torch.autograd.forward_ad.make_dual(x, t) for x, t in zip(inputs, tangents, strict=True)]
            results.append(torch.autograd.forward_ad.unpack_dual(function(*duals)).tangent)
    assert_same(*results)
