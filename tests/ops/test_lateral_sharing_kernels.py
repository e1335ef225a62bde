"""Lateral sharing in C++: tasks, dtypes, layouts, threads and derivatives, against the formula in float64."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from depthattn.ops import native
from depthattn.ops.lateral_sharing import shared
from depthattn.ops.lateral_sharing.cpu import joined_axes

pytestmark = pytest.mark.skipif(isinstance(native.load(), str), reason="no C++ kernels")

BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}


def _sliced(x: Tensor) -> Tensor:
    return torch.stack((x, torch.full_like(x, torch.nan if x.is_floating_point() else -1)), -1).flatten(-2)[..., ::2]


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels_last": lambda x: x.movedim(1, -1).contiguous().movedim(-1, 1),
    "transposed": lambda x: x.transpose(0, -1).contiguous().transpose(0, -1),
    "sliced": _sliced,
    "expanded": lambda x: x[:1, :, :1].expand(x.shape),
}


@pytest.fixture(params=[1, 2])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield
    torch.set_num_threads(before)


def by_einsum(features: list[Tensor], gates: Tensor) -> tuple[Tensor, ...]:
    stacked = torch.stack(features)
    mixed = torch.einsum("tu,ubc...->tbc..." if gates.ndim == 2 else "tuc,ubc...->tbc...", gates, stacked)
    return tuple((stacked + mixed).unbind())


def tensors(
    tasks: int, shape: tuple[int, ...], dtype: torch.dtype, *, per_channel: bool = False
) -> tuple[list[Tensor], Tensor, list[Tensor]]:
    """Features, gates and incoming gradients."""
    gates = torch.randn(tasks, tasks, *(shape[1:2] if per_channel else ()), dtype=torch.float64)
    maps = [torch.randn(shape, dtype=torch.float64).to(dtype) for _ in range(2 * tasks)]
    return maps[:tasks], gates.to(dtype), maps[tasks:]


def check(features: list[Tensor], gates: Tensor, weights: list[Tensor]) -> None:
    features = [x.detach().requires_grad_() for x in features]
    gates = gates.detach().requires_grad_()
    exact = [x.detach().double().requires_grad_() for x in (gates, *features)]
    outputs, wanted = shared(features, gates, "cpu"), by_einsum(exact[1:], exact[0])
    grads = torch.autograd.grad(outputs, (gates, *features), weights)
    wanted_grads = torch.autograd.grad(wanted, exact, [w.double() for w in weights])
    for ours, theirs in zip((*outputs, *grads), (*wanted, *wanted_grads), strict=True):
        error = (ours.double() - theirs).abs().max() / theirs.abs().max().clamp(min=4)
        assert error <= BOUNDS[ours.dtype]


@pytest.mark.usefixtures("_threads", "poisoned_memory")
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
@pytest.mark.parametrize("dtype", BOUNDS, ids=str)
@pytest.mark.parametrize("shape", [(3, 5), (2, 5, 7), (2, 1, 7, 9), (1, 1, 1, 1), (2, 3, 4, 5, 2, 3)], ids=str)
@pytest.mark.parametrize("tasks", [1, 2, 3, 5])
def test_values_and_gradients(tasks: int, shape: tuple[int, ...], dtype: torch.dtype, per_channel: bool) -> None:
    check(*tensors(tasks, shape, dtype, per_channel=per_channel))


@pytest.mark.usefixtures("_threads", "poisoned_memory")
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
@pytest.mark.parametrize("of_gradients", LAYOUTS)
@pytest.mark.parametrize("of_features", LAYOUTS)
def test_layouts(of_features: str, of_gradients: str, per_channel: bool) -> None:
    features, gates, weights = tensors(2, (3, 37, 6, 47), torch.float64, per_channel=per_channel)
    check([LAYOUTS[of_features](x) for x in features], gates, [LAYOUTS[of_gradients](w) for w in weights])


@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
def test_features_of_different_layouts_and_transposed_gates(per_channel: bool) -> None:
    features, gates, weights = tensors(5, (2, 7, 8, 9), torch.float64, per_channel=per_channel)
    laid_out = [layout(x) for layout, x in zip(LAYOUTS.values(), features, strict=True)]
    check(laid_out, gates.transpose(0, 1), weights)


@pytest.mark.parametrize("tasks", [40, 256])
def test_many_tasks(tasks: int) -> None:
    check(*tensors(tasks, (2, 3, 5), torch.float64))


def test_more_tasks_than_buffers_are_refused() -> None:
    features, gates, _ = tensors(257, (1, 1), torch.float32)
    with pytest.raises(ValueError, match="lateral_sharing: expected at most 256 tasks on the CPU, got 257"):
        shared(features, gates, "cpu")


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
def test_rows_longer_than_a_buffer_and_more_than_a_chunk(per_channel: bool, layout: str) -> None:
    features, gates, weights = tensors(2, (2, 70, 1031), torch.float64, per_channel=per_channel)
    check([LAYOUTS[layout](x) for x in features], gates, weights)
    features, gates, weights = tensors(2, (3, 2500, 5), torch.float64, per_channel=per_channel)
    check([LAYOUTS[layout](x) for x in features], gates, weights)


@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
def test_any_number_of_threads_gives_the_same_bits(per_channel: bool) -> None:
    features, gates, weights = tensors(3, (2, 33, 51, 40), torch.float32, per_channel=per_channel)
    inputs = [x.requires_grad_() for x in (gates, *features)]
    results = []
    before = torch.get_num_threads()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        outputs = shared(inputs[1:], inputs[0], "cpu")
        results.append((*outputs, *torch.autograd.grad(outputs, inputs, weights)))
    torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("gate_dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gates_and_features_of_different_dtypes(dtype: torch.dtype, gate_dtype: torch.dtype) -> None:
    features, gates, weights = tensors(3, (2, 4, 5, 3), dtype)
    check(features, gates.to(gate_dtype), weights)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    features, gates, _ = tensors(2, (2, 4, 5, 3), dtype)
    wide = shared([x.float() for x in features], gates.float(), "cpu")
    for ours, wanted in zip(shared(features, gates, "cpu"), wide, strict=True):
        assert torch.equal(ours, wanted.to(dtype))


@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
def test_gradcheck_without_nondeterminism(per_channel: bool) -> None:
    features, gates, _ = tensors(2, (2, 3, 2, 2), torch.float64, per_channel=per_channel)
    inputs = tuple(x.requires_grad_() for x in (gates, *features))

    def share(gates: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        return shared(list(features), gates, "cpu")

    assert torch.autograd.gradcheck(share, inputs, nondet_tol=0.0)
    assert torch.autograd.gradgradcheck(share, inputs, nondet_tol=0.0)


def test_closed_gates_are_the_identity_to_the_last_bit() -> None:
    features, gates, weights = tensors(3, (2, 4, 5, 3), torch.float32)
    features = [x.requires_grad_() for x in features]
    outputs = shared(features, torch.zeros_like(gates), "cpu")
    assert all(torch.equal(y, x) for y, x in zip(outputs, features, strict=True))
    grads = torch.autograd.grad(outputs, features, weights)
    assert all(torch.equal(g, w) for g, w in zip(grads, weights, strict=True))


def test_the_gradient_of_gates_over_many_elements_is_off_by_less_than_one_rounding_of_each_product() -> None:
    features, gates, weights = tensors(2, (2, 64, 50, 60), torch.float32)
    gates = gates.requires_grad_()
    (ours,) = torch.autograd.grad(shared(features, gates, "cpu"), gates, weights)
    pairs = [torch.stack(x).double() for x in (weights, features)]
    wanted, sizes = (torch.einsum("tbchw,ubchw->tu", *x) for x in (pairs, [x.abs() for x in pairs]))
    assert ((ours.double() - wanted).abs() <= 2.0**-24 * sizes).all()


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5)], ids=str)
def test_empty_maps_give_zero_gradients_to_gates(shape: tuple[int, ...]) -> None:
    features, gates, weights = tensors(2, shape, torch.float32)
    outputs = shared(features, gates.requires_grad_(), "cpu")
    assert [y.shape for y in outputs] == [x.shape for x in features]
    (grad,) = torch.autograd.grad(outputs, gates, weights)
    assert torch.equal(grad, torch.zeros(2, 2))


@pytest.mark.parametrize("compile_with", [None, "aot_eager", "inductor"])
def test_one_tensor_may_be_the_features_of_several_tasks(compile_with: str | None) -> None:
    (x, other, _), gates, weights = tensors(3, (2, 4, 5), torch.float64)

    def step(x: Tensor, gates: Tensor) -> Tensor:
        outputs = shared([x, other, x], gates, "cpu")
        return sum(((y * w).sum() for y, w in zip(outputs, weights, strict=True)), x.new_zeros(()))

    inputs = x.requires_grad_(), gates.requires_grad_()
    wanted_outputs = by_einsum([x, other, x], gates)
    wanted = torch.autograd.grad(wanted_outputs, inputs, weights)
    torch._dynamo.reset()
    run = step if compile_with is None else torch.compile(step, fullgraph=True, backend=compile_with)
    torch.testing.assert_close(torch.autograd.grad(run(*inputs), inputs), wanted)


def test_equal_dense_layouts_become_one_axis_and_channels_stay_apart_where_they_must() -> None:
    x = torch.empty(2, 3, 4, 5)
    last = x.contiguous(memory_format=torch.channels_last)
    assert joined_axes([x, x], None) == ([120], [[1], [1]], -1)
    assert joined_axes([last, last], None) == ([120], [[1], [1]], -1)
    assert joined_axes([x], 1) == ([2, 3, 20], [[60, 20, 1]], 1)
    assert joined_axes([last], 1) == ([40, 3], [[3, 1]], 1)
    assert joined_axes([x, last], None) == ([2, 3, 20], [[60, 20, 1], [60, 1, 3]], -1)
    assert joined_axes([torch.empty(1, 1)], None) == ([1], [[1]], -1)


def test_joined_axes_reach_every_element_of_every_tensor_once() -> None:
    x = torch.arange(2 * 3 * 4 * 5).view(2, 3, 4, 5)
    maps = [x, *(layout(x) for layout in LAYOUTS.values() if layout is not LAYOUTS["expanded"])]
    for keep in (None, 1):
        sizes, strides, _ = joined_axes(maps, keep)
        for indices in itertools.product(*(range(size) for size in sizes)):
            found = {
                int(m.as_strided((), (), m.storage_offset() + sum(i * s for i, s in zip(indices, row, strict=True))))
                for m, row in zip(maps, strides, strict=True)
            }
            assert len(found) == 1
