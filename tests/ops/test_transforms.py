"""Function transforms of every operation against its formula: eager and compiled, never a silent zero."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.ops.cases import ONE_OF_EACH, Case, random
from torch import Tensor, nn
from torch.func import functional_call, grad, hessian, jacrev, jvp, vjp, vmap

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


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=[case.name for case in ONE_OF_EACH])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_eager(case: Case, name: str) -> None:
    inputs = case.inputs(torch.float64, requires_grad=False)
    assert_same(TRANSFORMS[name](_scalar(case.run), inputs), TRANSFORMS[name](_scalar(case.formula), inputs))


@pytest.mark.parametrize("case", ONE_OF_EACH, ids=[case.name for case in ONE_OF_EACH])
def test_compiled(case: Case) -> None:
    """One graph for several transforms."""
    torch._dynamo.reset()
    inputs = case.inputs(torch.float64, requires_grad=False)
    # One graph takes the compiler minutes with all of them in it: the others go the same way through an operator, and a
    # compiled hessian was tried by hand.
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
@pytest.mark.parametrize("case", ONE_OF_EACH, ids=[case.name for case in ONE_OF_EACH])
def test_gradient_compiled_by_the_default_compiler(case: Case) -> None:
    torch._dynamo.reset()
    inputs = case.inputs(torch.float64, requires_grad=False)
    compiled = torch.compile(grad(_scalar(case.run)), fullgraph=True)
    assert_same(compiled(*inputs), grad(_scalar(case.formula))(*inputs))


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
