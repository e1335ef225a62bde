"""The Triton kernels under the interpreter, in blocks so small that every case has several of them and a tail."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.ops.cases import (
    CASES,
    ONE_OF_EACH,
    SIZE,
    Case,
    attention_depth,
    blocks_of_labels,
    depth,
    labels_for,
    random,
    target_with_holes,
)
from torch import Tensor

from depthattn import functional as F
from depthattn import use_backend
from depthattn.ops import backend, triton_utils
from depthattn.ops.lateral_sharing import reference as lateral_sharing_reference
from depthattn.ops.semantic_focal import SemanticFocalOptions
from depthattn.ops.semantic_focal import labels as focal_labels

# The interpreter computes with NumPy, also what a mask then leaves out.
pytestmark = [pytest.mark.triton, pytest.mark.filterwarnings("ignore::RuntimeWarning")]

DOUBLE = torch.float64
BLOCKS = {
    "depth_aware": {"_PIXELS": 32},
    "joint_gradient": {"ROWS_OF_A_STRIP": 4, "COLUMNS_OF_A_STRIP": 16},
    "attention_depth": {"ROWS_OF_A_STRIP": 4, "COLUMNS_OF_A_STRIP": 16},
    "semantic_focal": {"_ELEMENTS": 64, "_CLASSES": 4},
    "semantic_focal_upsample": {"_CLASSES": 8, "_COLUMNS": 8, "_ROWS": 2, "_WALKED": 6},
    "lateral_sharing": {"_ELEMENTS": 64, "_PIXELS": 8, "_CHANNELS": 2},
    "semi_dense_up_skip": {"_PIXELS": 32, "_WALKED": 2, "_GATHERED": 32, "_CHANNELS": 2, "_TAPS": 4},
}


# For what does not depend on the blocks: all of a map in one of them, where that takes less time.
WHOLE = {
    "depth_aware": {"_PIXELS": 128},
    "joint_gradient": {"ROWS_OF_A_STRIP": 9},
    "attention_depth": {"ROWS_OF_A_STRIP": 9},
    "semi_dense_up_skip": {"_PIXELS": 128, "_GATHERED": 128, "_CHANNELS": 4},
}


def module_of(operation: str) -> Any:
    return importlib.import_module(f"depthattn.ops.{operation}.triton")


@pytest.fixture(autouse=True)
def launches(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, tuple[Any, ...]]]]:
    """Name and arguments of every kernel that ran, in small blocks."""
    seen: list[tuple[str, tuple[Any, ...]]] = []
    original = triton_utils.launch

    def spy(kernel: Any, programs: int, like: Tensor, *arguments: Any, **options: Any) -> None:
        original(kernel, programs, like, *arguments, **options)
        seen.append((f"{kernel.fn.__module__.split('.')[-2]}.{kernel.fn.__name__}", arguments))

    monkeypatch.setattr(triton_utils, "launch", spy)
    monkeypatch.setattr(triton_utils, "_FOLD", 4)
    for operation, blocks in BLOCKS.items():
        monkeypatch.setattr(module_of(operation), "launch", spy)
        for name, value in blocks.items():
            monkeypatch.setattr(module_of(operation), name, value)
    with use_backend("triton"):
        yield seen


@pytest.fixture
def whole(launches: object, monkeypatch: pytest.MonkeyPatch) -> None:
    for operation, blocks in WHOLE.items():
        for name, value in blocks.items():
            monkeypatch.setattr(module_of(operation), name, value)


def by_name(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[case.name for case in cases])


def names(launches: list[tuple[str, tuple[Any, ...]]]) -> set[str]:
    return {name for name, _ in launches}


def cotangent(output: Tensor) -> Tensor:
    """Numbers that every dtype holds exactly."""
    return random(*output.shape, seed=77, low=-1).bfloat16().to(output.dtype)


def with_gradients(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    output = function(*inputs)
    return output.detach(), *torch.autograd.grad(output, inputs, cotangent(output))


def assert_computes_the_formula(case: Case, dtype: torch.dtype, bound: float) -> None:
    exact = with_gradients(case.formula, case.inputs(DOUBLE))
    for ours, wanted in zip(with_gradients(case.run, case.inputs(dtype)), exact, strict=True):
        torch.testing.assert_close(ours.to(DOUBLE), wanted, rtol=bound, atol=bound / 10)


@pytest.mark.usefixtures("poisoned_memory")
@by_name(CASES)
def test_kernels_compute_the_formula_in_fp64(case: Case, launches: list[Any]) -> None:
    assert_computes_the_formula(case, DOUBLE, 1e-11)
    operation = case.name.split("-")[0]
    assert {f"{operation}._forward_kernel", f"{operation}._backward_kernel"} <= names(launches)


@pytest.mark.usefixtures("whole")
@by_name(ONE_OF_EACH)
def test_kernels_compute_the_formula_in_fp32(case: Case) -> None:
    assert_computes_the_formula(case, torch.float32, 2e-5)


@pytest.mark.usefixtures("whole")
@by_name(ONE_OF_EACH)
def test_fp16_is_as_exact_as_the_formula_in_fp16(case: Case) -> None:
    inputs = case.inputs(torch.float16)
    exact = tuple(x.detach().to(DOUBLE).requires_grad_() for x in inputs)
    for ours, textbook, wanted in zip(
        with_gradients(case.run, inputs),
        with_gradients(case.formula, inputs),
        with_gradients(case.formula, exact),
        strict=True,
    ):
        error = (ours.to(DOUBLE) - wanted).norm() / wanted.norm()
        allowed = (textbook.to(DOUBLE) - wanted).norm() / wanted.norm()
        assert error <= allowed + (2**-13 if ours.dtype == torch.float16 else 1e-6)


@pytest.mark.usefixtures("whole")
@by_name(ONE_OF_EACH)
def test_bf16_is_the_formula_up_to_its_last_bit(case: Case) -> None:
    """The interpreter cuts bfloat16 off where a GPU rounds, so that a whole last bit may be missing."""
    inputs = case.inputs(torch.bfloat16)
    exact = with_gradients(case.formula, tuple(x.detach().to(DOUBLE).requires_grad_() for x in inputs))
    for ours, wanted in zip(with_gradients(case.run, inputs), exact, strict=True):
        bound = 2**-7 if ours.dtype == torch.bfloat16 else 2e-5
        torch.testing.assert_close(ours.to(DOUBLE), wanted, rtol=bound, atol=1e-6)


def test_wide_maps_take_several_blocks_of_columns() -> None:
    pred, target = depth(1, 6, 21, seed=1), target_with_holes(1, 6, 21)
    inside = (target > 0) & target.isfinite()
    windows = torch.nn.functional.max_pool2d((~inside).double()[None], 3, 1)[0] == 0
    error = (pred - target.nan_to_num(0, 0, 0))[0]
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=DOUBLE)
    h, v = (torch.nn.functional.conv2d(error[None, None], k[None, None])[0, 0] for k in (sobel, sobel.T))
    wanted = ((h.abs() + v.abs()) * windows[0]).sum() / windows.sum()
    torch.testing.assert_close(F.joint_gradient_loss(pred, target), wanted)


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("with_labels", [False, True])
def test_the_depth_side_is_one_launch_each_way(with_labels: bool, launches: list[Any]) -> None:
    labels = blocks_of_labels(*SIZE) if with_labels else None
    pred, weights = depth(*SIZE, seed=1).requires_grad_(), torch.ones(3, dtype=DOUBLE)
    total = attention_depth(pred, weights, labels=labels, max_depth=10.0)
    assert [name for name, _ in launches] == ["attention_depth._forward_kernel", "ops._fold_kernel"]
    launches.clear()
    total.backward()
    assert [name for name, _ in launches] == ["attention_depth._backward_kernel"]


def transposed(x: Tensor) -> Tensor:
    return x.transpose(-1, -2).contiguous().transpose(-1, -2)


def sliced(x: Tensor) -> Tensor:
    wide = torch.full((*x.shape[:-2], x.shape[-2] + 2, x.shape[-1] + 3), 7, dtype=x.dtype)
    view = wide[..., 1:-1, 2:-1]
    view.copy_(x)
    return view


def channels_last(x: Tensor) -> Tensor:
    return x.movedim(1, -1).contiguous().movedim(-1, 1) if x.ndim == 4 else x


LAYOUTS = pytest.mark.parametrize("layout", [transposed, sliced, channels_last], ids=lambda f: f.__name__)


def reads_in_place(launches: list[Any], tensors: tuple[Tensor, ...]) -> bool:
    """Whether the forward kernel got the memory of the tensors, not of copies."""
    arguments = next(arguments for name, arguments in launches if name.endswith("._forward_kernel"))
    flat = [y for x in arguments for y in (x if isinstance(x, tuple) else (x,))]
    read = {x.untyped_storage().data_ptr() for x in flat if isinstance(x, Tensor)}
    return {x.untyped_storage().data_ptr() for x in tensors} <= read


STRIDED = (
    "depth_aware-default",
    "joint_gradient-map",
    "lateral_sharing-2",
    "lateral_sharing-3",
    "semi_dense_up_skip-b",
)


@pytest.mark.usefixtures("whole")
@LAYOUTS
@by_name([case for case in CASES if case.name.startswith(STRIDED)])
def test_strides_change_no_result_and_cost_no_copy(
    case: Case, layout: Callable[[Tensor], Tensor], launches: list[Any]
) -> None:
    plain = case.inputs(DOUBLE, requires_grad=False)
    strided = tuple(layout(x) if x.ndim > 2 and x.shape[0] != x.shape[1] else x for x in plain)
    ours = with_gradients(case.run, tuple(x.requires_grad_() for x in strided))
    assert reads_in_place(launches, strided)
    with use_backend("reference"):
        wanted = with_gradients(case.run, tuple(x.requires_grad_() for x in plain))
    for a, b in zip(ours, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_logits_with_the_classes_last_are_read_in_place(launches: list[Any]) -> None:
    logits = random(2, 5, 4, 7, seed=1, low=-4, high=4)
    target = labels_for(2, 4, 7, classes=5)
    wanted = F.semantic_focal_loss(logits, target)
    launches.clear()
    strided = channels_last(logits).requires_grad_()
    loss = F.semantic_focal_loss(strided, target)
    torch.testing.assert_close(loss, wanted)
    assert reads_in_place(launches, (strided, target))
    (ours,) = torch.autograd.grad(loss, strided)
    (theirs,) = torch.autograd.grad(F.semantic_focal_loss(logits.requires_grad_(), target), logits)
    torch.testing.assert_close(ours, theirs)


def test_five_tasks_with_five_layouts() -> None:
    features = [f(random(2, 3, 4, 6, seed=t)) for t, f in enumerate([transposed, sliced, channels_last, sliced])]
    features.append(random(1, 1, 1, 1, seed=9).expand(2, 3, 4, 6))
    gates = random(5, 5, 3, seed=10, low=-1)
    for ours, wanted in zip(
        F.lateral_sharing(features, gates), lateral_sharing_reference.share(features, gates), strict=True
    ):
        torch.testing.assert_close(ours, wanted)


@pytest.mark.usefixtures("whole")
def test_nan_stays_where_it_does_not_count_and_shows_where_it_does() -> None:
    for loss in (F.depth_aware_loss, F.joint_gradient_loss):
        target = target_with_holes(2, 9, 11)
        holes = ~((target > 0) & target.isfinite())
        pred = depth(2, 9, 11, seed=1)
        clean = torch.autograd.grad(loss(pred.requires_grad_(), target), pred)[0]  # type: ignore[operator]
        pred = pred.detach().masked_fill(holes, torch.nan).requires_grad_()
        value = loss(pred, target)  # type: ignore[operator]
        assert torch.equal(torch.autograd.grad(value, pred)[0], clean)
        pred = pred.detach().clone()
        pred[1, 6, 6] = torch.nan
        target[1, 5:8, 5:8] = 2.0
        assert loss(pred, target).isnan()  # type: ignore[operator]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("loss", [F.joint_gradient_loss, functools.partial(F.depth_aware_loss, distance="l1")])
def test_nothing_pulls_at_a_prediction_that_is_right(loss: Callable[..., Tensor]) -> None:
    target = target_with_holes(2, 9, 11)
    pred = target.clone().requires_grad_()
    value = loss(pred, target)
    assert value == 0
    assert torch.equal(torch.autograd.grad(value, pred)[0], torch.zeros_like(target))


def test_ignored_pixels_have_no_gradient_and_labels_out_of_range_no_address(monkeypatch: pytest.MonkeyPatch) -> None:
    module = module_of("semantic_focal")
    # As on an accelerator.
    monkeypatch.setattr(focal_labels, "validates", lambda device: False)
    logits = random(1, 5, 6, seed=2, low=-3, high=3)
    logits[..., 1] = torch.nan
    target = torch.tensor([[0, -100, 4, 10**12, -(10**12), 2]])
    weight = random(5, seed=3)
    options = SemanticFocalOptions(2.0, -100, "pixels", "mean")
    sums, counts, *_ = module.forward(logits, target, weight, options, None)
    log_p = logits[0].log_softmax(0)
    picked = torch.stack([log_p[y, i] for i, y in ((0, 0), (2, 4), (5, 2))])
    w = weight[[0, 4, 2]]
    torch.testing.assert_close(sums, (-w * (1 - picked.exp()) ** 2 * picked).sum().view(1, 1))
    assert counts.tolist() == [[3]]
    weighed = module.forward(logits, target, weight, options._replace(normalize_by="weight"), None)[1]
    torch.testing.assert_close(weighed, w.sum().view(1, 1))
    (gradient,) = module.backward(torch.ones(1, 1, dtype=DOUBLE), logits, target, weight, None, options, [True])
    assert torch.equal(gradient[..., [1, 3, 4]], torch.zeros(1, 5, 3, dtype=DOUBLE))
    logits[0, 3, 5] = torch.nan
    assert module.forward(logits, target, weight, options, None)[0].isnan().all()


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0, 3.5])
def test_saturated_logits_have_their_exact_gradient(gamma: float) -> None:
    """Two classes, z apart: q = 1 / (1 + e^z), where 1 - p would be 0 in float32."""
    z = torch.tensor([5.0, 20.0, 60.0, -60.0], dtype=DOUBLE)
    logits = torch.stack([z, torch.zeros(4, dtype=DOUBLE)])[None].float()
    options, target = SemanticFocalOptions(gamma, -100, "pixels", "mean"), torch.zeros(1, 4, dtype=torch.int64)
    (gradient,) = module_of("semantic_focal").backward(torch.ones(1, 1), logits, target, None, None, options, [True])
    p, q = torch.sigmoid(z), torch.sigmoid(-z)
    log_p = torch.nn.functional.logsigmoid(z)
    wanted = q**gamma * (gamma * p * log_p - q)
    torch.testing.assert_close(gradient[0, 0].to(DOUBLE), wanted, rtol=2e-5, atol=1e-37)


def test_empty_inputs() -> None:
    for shape in ((0, 5, 6), (2, 0, 6)):
        maps = torch.ones(shape, requires_grad=True)
        loss = F.depth_aware_loss(maps, torch.ones(shape))
        assert loss.item() == 0
        assert torch.autograd.grad(loss, maps)[0].shape == shape
        labels = torch.zeros(shape, dtype=torch.int64)
        assert F.joint_gradient_loss(torch.ones(shape), torch.ones(shape), labels=labels).item() == 0
        assert F.semantic_focal_loss(torch.ones(shape[0], 3, *shape[1:]), labels).item() == 0
    features = [torch.ones(0, 3, 4, requires_grad=True) for _ in range(2)]
    gates = torch.ones(2, 2, requires_grad=True)
    mixed = F.lateral_sharing(features, gates)
    assert torch.equal(torch.autograd.grad(mixed[0].sum(), gates)[0], torch.zeros(2, 2))
    assert F.semi_dense_up_skip([torch.ones(0, 3, 2, 2)], (4, 4)).shape == (0, 3, 4, 4)


def test_addresses_are_64_bits_wide(tmp_path: Path) -> None:
    """Rows 2^30 elements apart in a file of 2^32, of which only the touched pages exist."""
    storage = torch.from_file(str(tmp_path / "sparse"), shared=True, size=2**32, dtype=torch.float16)
    far = storage.as_strided((1, 4, 8), (0, 2**30, 1))
    near = depth(1, 4, 8, seed=1).half()
    far.copy_(near)
    target = depth(1, 4, 8, seed=2)
    for loss in (F.depth_aware_loss, F.joint_gradient_loss):
        assert torch.equal(loss(far, target), loss(near, target))  # type: ignore[operator]
    planes = far.view(1, 4, 2, 4)
    for case in (lambda x: F.semi_dense_up_skip([x], (3, 5)), lambda x: F.lateral_sharing([x], torch.ones(1, 1, 4))[0]):
        assert torch.equal(case(planes), case(near.view(1, 4, 2, 4)))
    labels = labels_for(1, 8, classes=4)
    assert torch.equal(F.semantic_focal_loss(far, labels), F.semantic_focal_loss(near, labels))
    # Classes far apart, and rows even farther.
    far = storage.as_strided((1, 2, 2, 4), (0, 2**30, 2**31, 1))
    far.copy_(planes[:, :2].clone())
    labels, results = labels_for(1, 3, 5, classes=2), []
    for logits in (far, far.contiguous()):
        leaf = logits.requires_grad_()
        loss = F.semantic_focal_loss(leaf, labels, upsample="bilinear")
        results.append((loss.detach(), torch.autograd.grad(loss, leaf)[0]))
    for ours, wanted in zip(*results, strict=True):
        assert torch.equal(ours, wanted)


def test_the_backend_says_what_it_cannot_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "_triton_interprets", False)
    with pytest.raises(ValueError, match=r"use_backend\('triton'\): expected tensors on a CUDA device, got .* on cpu"):
        F.depth_aware_loss(torch.ones(1, 4, 4), torch.ones(1, 4, 4))
