"""Three-way accuracy: no backend is further from the formula in float64 than the formula in its own dtype, plus a hair.

A tolerance alone lets through a gradient that leans to one side or is zero where it should not be. So the direction of
each gradient, its mean signed error, and the rows that are exactly zero are judged as well.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.ops.cases import CASES, ONE_OF_EACH, Case, random
from torch import Tensor

from depthattn import use_backend

# The interpreter computes with NumPy, also what a mask then leaves out.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

DOUBLE = torch.float64
# Not here: bfloat16 under Triton's interpreter, which cuts it off where a GPU rounds. Interpreting costs seconds
# a case, so one case of each operation has to do there.
RUNS = [
    *(("cpu", dtype, case) for dtype in (torch.float32, torch.float16, torch.bfloat16) for case in CASES),
    *(("triton", dtype, case) for dtype in (torch.float32, torch.float16) for case in ONE_OF_EACH),
]


def cotangent(output: Tensor) -> Tensor:
    """Numbers that every dtype holds exactly, without symmetries."""
    return random(*output.shape, seed=77, low=-1).bfloat16().to(output.dtype)


def with_gradients(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    output = function(*inputs)
    return output.detach(), *torch.autograd.grad(output, inputs, cotangent(output))


def distance(a: Tensor, b: Tensor) -> float:
    return float((a.to(DOUBLE) - b).norm() / b.norm())


def bias(a: Tensor, b: Tensor) -> float:
    """Mean signed error, as a part of the mean size."""
    return abs(float((a.to(DOUBLE) - b).mean() / b.abs().mean()))


def zero_rows(x: Tensor) -> Tensor:
    return (x == 0).all(-1)


@pytest.mark.parametrize(
    ("backend", "dtype", "case"),
    [
        pytest.param(
            *(backend, dtype, case),
            marks=[pytest.mark.triton] if backend == "triton" else [],
            id=f"{case.name}-{backend}-{str(dtype)[6:]}",
        )
        for backend, dtype, case in RUNS
    ],
)
def test_no_further_from_float64_than_the_formula_in_that_dtype(backend: str, dtype: torch.dtype, case: Case) -> None:
    inputs = case.inputs(dtype)
    exact = with_gradients(case.formula, tuple(x.detach().to(DOUBLE).requires_grad_() for x in inputs))
    textbook = with_gradients(case.formula, inputs)
    with use_backend(backend):
        ours = with_gradients(case.run, inputs)
    for index, (a, b, wanted) in enumerate(zip(ours, textbook, exact, strict=True)):
        hair = torch.finfo(a.dtype).eps * (0.125 if a.dtype != torch.float32 else 2)
        assert a.dtype == b.dtype
        assert distance(a, wanted) <= distance(b, wanted) + hair
        assert bias(a, wanted) <= bias(b, wanted) + hair
        if index > 0:
            assert torch.equal(zero_rows(a), zero_rows(wanted))
            cosine = torch.nn.functional.cosine_similarity(a.to(DOUBLE).flatten(), wanted.flatten(), dim=0)
            assert 1 - float(cosine) <= torch.finfo(a.dtype).eps ** 2 + 1e-13
