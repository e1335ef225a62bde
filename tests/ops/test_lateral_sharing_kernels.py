"""Lateral sharing's tensor code: any number of tasks, dtypes of features and gates, layouts, and tiles of any cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from depthattn import functional as F
from depthattn import use_backend
from depthattn.ops.lateral_sharing import layout

BOUNDS = {torch.float64: 1e-12, torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 1.6e-2}
LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x.contiguous(),
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "permuted": lambda x: x.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1),
    "sliced": lambda x: torch.stack((x, torch.full_like(x, torch.nan)), -1).flatten(3)[..., ::2],
}


@pytest.fixture(params=["default tiles", "tiny tiles"])
def _tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "tiny tiles":
        monkeypatch.setattr(layout, "tile_elements", lambda like, buffers: 22)


@pytest.fixture
def _inductor() -> Iterator[None]:
    with use_backend("inductor"):
        yield


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
    outputs, wanted = F.lateral_sharing(features, gates), by_einsum(exact[1:], exact[0])
    grads = torch.autograd.grad(outputs, (gates, *features), weights)
    wanted_grads = torch.autograd.grad(wanted, exact, [w.double() for w in weights])
    for ours, theirs in zip((*outputs, *grads), (*wanted, *wanted_grads), strict=True):
        error = (ours.double() - theirs).abs().max() / theirs.abs().max().clamp(min=1)
        assert error <= BOUNDS[ours.dtype]
    for y, x in zip((*outputs, *grads[1:]), (*features, *features), strict=True):
        assert y.dtype == x.dtype
        assert y.stride() == torch.empty_like(x).stride()
    assert grads[0].dtype == gates.dtype
    assert grads[0].is_contiguous()


@pytest.mark.usefixtures("_tiles", "poisoned_memory")
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(3, 5), (2, 5, 7), (2, 5, 7, 9), (1, 1, 1, 1), (2, 3, 4, 5, 2)], ids=str)
@pytest.mark.parametrize("tasks", [1, 2, 3, 4])
def test_values_and_gradients(tasks: int, shape: tuple[int, ...], dtype: torch.dtype, per_channel: bool) -> None:
    check(*tensors(tasks, shape, dtype, per_channel=per_channel))


@pytest.mark.usefixtures("_tiles", "poisoned_memory")
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
@pytest.mark.parametrize("of_gradients", LAYOUTS)
@pytest.mark.parametrize("of_features", LAYOUTS)
def test_layouts(of_features: str, of_gradients: str, per_channel: bool) -> None:
    features, gates, weights = tensors(2, (2, 5, 6, 7), torch.float64, per_channel=per_channel)
    check([LAYOUTS[of_features](x) for x in features], gates, [LAYOUTS[of_gradients](w) for w in weights])


def test_features_of_different_layouts_and_expanded_gradients() -> None:
    features, gates, weights = tensors(2, (2, 5, 6, 7), torch.float64, per_channel=True)
    features = [LAYOUTS["contiguous"](features[0]), LAYOUTS["channels_last"](features[1])]
    check(features, gates.transpose(0, 1), weights)
    check(features, gates, [w[:1, :1, :1, :1].expand(w.shape) for w in weights])


@pytest.mark.parametrize(
    ("of_features", "per_channel"),
    [("contiguous", False), ("contiguous", True), ("channels_last", True), ("sliced", False)],
)
@pytest.mark.usefixtures("_inductor", "poisoned_memory")
def test_compiled(of_features: str, per_channel: bool) -> None:
    features, gates, weights = tensors(2, (2, 5, 6, 7), torch.float32, per_channel=per_channel)
    check([LAYOUTS[of_features](x) for x in features], gates, weights)


@pytest.mark.usefixtures("_inductor")
def test_a_new_size_meets_compiled_code() -> None:
    # Above 4096 elements the compiler sums with more care: code of its own, and one more compilation in all.
    for size in [(2, 4, 6, 7), (2, 9, 31, 13)]:
        check(*tensors(2, size, torch.float32))
    with torch.compiler.set_stance("fail_on_recompile"):
        for size in [(3, 5, 9, 8), (3, 7, 20, 30), (1, 2, 3, 4), (2, 16, 19, 23)]:
            check(*tensors(2, size, torch.float32))


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("gate_dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_gates_and_features_of_different_dtypes(dtype: torch.dtype, gate_dtype: torch.dtype) -> None:
    features, gates, weights = tensors(3, (2, 4, 5, 3), dtype)
    check(features, gates.to(gate_dtype), weights)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype: torch.dtype) -> None:
    features, gates, _ = tensors(2, (2, 4, 5, 3), dtype)
    wide = F.lateral_sharing([x.float() for x in features], gates.float())
    for ours, wanted in zip(F.lateral_sharing(features, gates), wide, strict=True):
        assert torch.equal(ours, wanted.to(dtype))


@pytest.mark.usefixtures("_tiles")
@pytest.mark.parametrize("per_channel", [False, True], ids=["scalar", "channel"])
def test_gradcheck_without_nondeterminism(per_channel: bool) -> None:
    features, gates, _ = tensors(2, (2, 3, 2, 2), torch.float64, per_channel=per_channel)
    inputs = tuple(x.requires_grad_() for x in (gates, *features))

    def share(gates: Tensor, *features: Tensor) -> tuple[Tensor, ...]:
        return F.lateral_sharing(features, gates)

    assert torch.autograd.gradcheck(share, inputs, nondet_tol=0.0)
    assert torch.autograd.gradgradcheck(share, inputs, nondet_tol=0.0)


def test_closed_gates_are_the_identity_to_the_last_bit() -> None:
    features, gates, weights = tensors(3, (2, 4, 5, 3), torch.float32)
    features = [x.requires_grad_() for x in features]
    outputs = F.lateral_sharing(features, torch.zeros_like(gates))
    assert all(torch.equal(y, x) for y, x in zip(outputs, features, strict=True))
    grads = torch.autograd.grad(outputs, features, weights)
    assert all(torch.equal(g, w) for g, w in zip(grads, weights, strict=True))


def test_the_gradient_of_gates_is_exact_over_many_elements() -> None:
    features, gates, weights = tensors(2, (2, 64, 50, 60), torch.float32)
    gates = gates.requires_grad_()
    (ours,) = torch.autograd.grad(F.lateral_sharing(features, gates), gates, weights)
    pairs = [[(g.double() * x.double()).sum() for x in features] for g in weights]
    wanted = torch.stack([torch.stack(row) for row in pairs])
    scale = sum(x.double().square().sum() for x in features + weights)
    assert ((ours.double() - wanted).abs() <= 1e-8 * scale).all()


@pytest.mark.parametrize("precision", ["high", "medium"])
def test_lowered_matmul_precision_does_not_reach_it(precision: str) -> None:
    features, gates, weights = tensors(2, (2, 8, 50, 60), torch.float32)
    gates = gates.requires_grad_()

    def gradient() -> Tensor:
        return torch.autograd.grad(F.lateral_sharing(features, gates), gates, weights)[0]

    wanted = gradient()
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        assert torch.equal(gradient(), wanted)
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize("backend", ["eager", "inductor"])
@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (2, 0, 4, 5), (2, 3, 0, 5)], ids=str)
def test_empty_maps_give_zero_gradients_to_gates(shape: tuple[int, ...], backend: str) -> None:
    features, gates, weights = tensors(2, shape, torch.float32)
    gates = gates.requires_grad_()
    with use_backend(backend):
        outputs = F.lateral_sharing(features, gates)
        (grad,) = torch.autograd.grad(outputs, gates, weights)
    assert [y.shape for y in outputs] == [x.shape for x in features]
    assert torch.equal(grad, torch.zeros(2, 2))
