"""What every operation promises, whatever it computes: derivatives, dtypes, strides, compilation, memory hygiene."""

from __future__ import annotations

import threading

import pytest
import torch
from tests.ops.cases import CASES, ONE_OF_EACH, Case, random
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from depthattn import use_backend

DOUBLE = torch.float64


def by_name(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def weights_like(output: Tensor) -> Tensor:
    """A cotangent without symmetries."""
    return random(*output.shape, seed=77, low=-1).to(output.dtype)


def gradients(case: Case, function: object, inputs: tuple[Tensor, ...], **options: bool) -> tuple[Tensor, ...]:
    output = function(*inputs)  # type: ignore[operator]
    return torch.autograd.grad(output, inputs, weights_like(output), **options)


@by_name(CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=["fp64", "fp32"])
def test_values_and_gradients_are_those_of_the_formula(case: Case, dtype: torch.dtype) -> None:
    inputs = case.inputs(dtype)
    bound = {"rtol": 1e-11, "atol": 1e-12} if dtype == DOUBLE else {"rtol": 2e-5, "atol": 2e-6}
    exact = case.inputs(DOUBLE)
    torch.testing.assert_close(case.run(*inputs).to(DOUBLE), case.formula(*exact), **bound)
    for ours, wanted in zip(gradients(case, case.run, inputs), gradients(case, case.formula, exact), strict=True):
        torch.testing.assert_close(ours.to(DOUBLE), wanted, **bound)


# With a detached weight, or a turn at a part of the largest error, the gradient is not the slope of the value, by
# design.
@by_name([case for case in CASES if "detach_weight" not in case.name and "berhu" not in case.name])
def test_gradcheck(case: Case) -> None:
    inputs = case.inputs(DOUBLE)
    assert torch.autograd.gradcheck(case.run, inputs)
    # By random projections: of every entry it would take most of the time of all tests.
    assert torch.autograd.gradgradcheck(case.run, inputs, fast_mode=True)


@by_name(CASES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["fp16", "bf16"])
def test_half_precision_is_as_exact_as_the_formula_in_that_dtype(case: Case, dtype: torch.dtype) -> None:
    inputs = case.inputs(dtype)
    exact = tuple(x.detach().to(DOUBLE).requires_grad_() for x in inputs)
    pairs = zip(
        (case.run(*inputs), *gradients(case, case.run, inputs)),
        (case.formula(*inputs), *gradients(case, case.formula, inputs)),
        (case.formula(*exact), *gradients(case, case.formula, exact)),
        strict=True,
    )
    for ours, textbook, wanted in pairs:
        error = (ours.to(DOUBLE) - wanted).norm() / wanted.norm()
        allowed = (textbook.to(DOUBLE) - wanted).norm() / wanted.norm()
        hair = torch.finfo(dtype).eps / 8 if ours.dtype == dtype else 1e-6
        assert error <= allowed + hair


# The up-skip is linear: its gradient does not depend on its inputs, and gradgradcheck covers its cotangent.
@by_name([case for case in ONE_OF_EACH if "up_skip" not in case.name])
def test_double_backward_reaches_a_gradient_penalty(case: Case) -> None:
    def penalty(function: object, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        first = gradients(case, function, inputs, create_graph=True)
        total = sum(((g * weights_like(g)).sum() + g.square().sum() for g in first), torch.zeros((), dtype=DOUBLE))
        return torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)

    inputs = case.inputs(DOUBLE)
    for ours, wanted in zip(penalty(case.run, inputs), penalty(case.formula, inputs), strict=True):
        torch.testing.assert_close(ours, wanted)


@by_name(ONE_OF_EACH)
def test_a_second_backward_through_a_kept_graph_gives_the_same_gradient(case: Case) -> None:
    inputs = case.inputs(torch.float32)
    output = case.run(*inputs)
    first = torch.autograd.grad(output, inputs, weights_like(output), retain_graph=True)
    copies = [g.clone() for g in first]
    second = torch.autograd.grad(output, inputs, weights_like(output), retain_graph=True)
    third = torch.autograd.grad(output, inputs, 2 * weights_like(output))
    for a, copy, b, c in zip(first, copies, second, third, strict=True):
        assert torch.equal(a, copy)
        assert torch.equal(a, b)
        torch.testing.assert_close(2 * a, c)


@by_name(ONE_OF_EACH)
@pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
def test_compiles_without_a_graph_break(case: Case, dynamic: bool) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(case.run, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    inputs = case.inputs(torch.float32)
    torch.testing.assert_close(compiled(*inputs), case.run(*inputs))
    for a, b in zip(gradients(case, compiled, inputs), gradients(case, case.run, inputs), strict=True):
        torch.testing.assert_close(a, b)


@by_name([ONE_OF_EACH[0], ONE_OF_EACH[-1]])
def test_a_compiled_step_notices_another_backend(case: Case) -> None:
    torch._dynamo.reset()
    compiled = torch.compile(case.run, fullgraph=True, backend="aot_eager")
    inputs = case.inputs(torch.float32, requires_grad=False)
    wanted = compiled(*inputs)
    with use_backend("reference"):
        torch.testing.assert_close(compiled(*inputs), wanted)


@by_name(ONE_OF_EACH)
@pytest.mark.parametrize("reentrant", [False, True], ids=["non-reentrant", "reentrant"])
def test_activation_checkpointing(case: Case, reentrant: bool) -> None:
    inputs = case.inputs(torch.float32)
    output = checkpoint(case.run, *inputs, use_reentrant=reentrant)
    output.backward(weights_like(output))
    for x, wanted in zip(inputs, gradients(case, case.run, inputs), strict=True):
        torch.testing.assert_close(x.grad, wanted)


@by_name(ONE_OF_EACH)
def test_autocast_changes_nothing(case: Case) -> None:
    inputs = case.inputs(torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        output = case.run(*inputs)
        grads = torch.autograd.grad(output, inputs, weights_like(output))
    assert torch.equal(output, case.run(*inputs))
    for a, b in zip(grads, gradients(case, case.run, inputs), strict=True):
        assert torch.equal(a, b)


@by_name(CASES)
def test_strides_do_not_matter(case: Case) -> None:
    inputs = case.inputs(torch.float32)
    wanted = case.run(*inputs)
    wanted_grads = gradients(case, case.run, inputs)
    for view in (_transposed, _sliced):
        strided = tuple(view(x.detach()).requires_grad_() for x in inputs)
        torch.testing.assert_close(case.run(*strided), wanted)
        for a, b in zip(gradients(case, case.run, strided), wanted_grads, strict=True):
            torch.testing.assert_close(a, b)


def _transposed(x: Tensor) -> Tensor:
    """The same values with the axes laid out in the opposite order."""
    order = tuple(reversed(range(x.ndim)))
    return x.permute(order).contiguous().permute(order)


def _sliced(x: Tensor) -> Tensor:
    """The same values as every other element of a larger tensor of NaN."""
    host = x.new_full(tuple(2 * n for n in x.shape), torch.nan)
    inner = host[tuple(slice(None, None, 2) for _ in x.shape)]
    return inner.copy_(x)


@by_name(ONE_OF_EACH)
def test_an_expanded_output_gradient(case: Case) -> None:
    inputs = case.inputs(torch.float32)
    output = case.run(*inputs)
    expanded = torch.autograd.grad(output.sum(), inputs)
    dense = torch.autograd.grad(case.run(*inputs), inputs, torch.ones_like(output))
    for a, b in zip(expanded, dense, strict=True):
        torch.testing.assert_close(a, b)


@by_name(CASES)
def test_inputs_are_left_alone(case: Case) -> None:
    inputs = case.inputs(torch.float32)
    copies = [x.detach().clone() for x in inputs]
    gradients(case, case.run, inputs)
    for x, copy in zip(inputs, copies, strict=True):
        assert torch.equal(x, copy)
        assert x.grad is None


@by_name(CASES)
@pytest.mark.usefixtures("poisoned_memory")
def test_every_element_is_written(case: Case) -> None:
    inputs = case.inputs(torch.float32)
    exact = case.inputs(DOUBLE)
    torch.testing.assert_close(case.run(*inputs).to(DOUBLE), case.formula(*exact), rtol=2e-5, atol=2e-6)
    for a, b in zip(gradients(case, case.run, inputs), gradients(case, case.formula, exact), strict=True):
        torch.testing.assert_close(a.to(DOUBLE), b, rtol=2e-5, atol=2e-6)


@by_name(ONE_OF_EACH)
def test_two_threads_at_once(case: Case) -> None:
    wanted = gradients(case, case.run, case.inputs(torch.float32))
    results: dict[int, tuple[Tensor, ...]] = {}

    def work(slot: int) -> None:
        results[slot] = gradients(case, case.run, case.inputs(torch.float32))

    threads = [threading.Thread(target=work, args=(slot,)) for slot in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for grads in results.values():
        assert all(torch.equal(a, b) for a, b in zip(grads, wanted, strict=True))
    assert len(results) == 2
