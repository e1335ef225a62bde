"""The Triton kernels on a device: the same results, no waiting for the device, and whole steps in a CUDA graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from tests.ops.cases import blocks_of_labels, labels_for, random
from torch import Tensor

from depthattn import AttentionDrivenLoss, DepthAwareLoss, use_backend
from depthattn import functional as F

pytestmark = pytest.mark.cuda

DOUBLE = torch.float64


@contextmanager
def no_waiting() -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def losses(device: str, dtype: torch.dtype) -> dict[str, tuple[Callable[..., Tensor], tuple[Tensor, ...]]]:
    """Each operation at a size of many blocks with a tail, and what it differentiates."""
    pred, target, semantics = (random(3, 95, 333, seed=s, low=0.3, high=9).to(device, dtype) for s in (1, 2, 3))
    target[random(3, 95, 333, seed=4).to(device) < 0.1] = 0
    logits = random(2, 40, 61, 67, seed=5, low=-5, high=5).to(device, dtype)
    labels = labels_for(2, 61, 67, classes=40).to(device)
    features = tuple(random(2, 33, 30, 41, seed=s, low=-1).to(device, dtype) for s in (6, 7))
    gates = random(2, 2, 33, seed=8, low=-1).to(device, dtype)
    levels = tuple(
        random(2, 9, h, w, seed=h, low=-1).to(device, dtype) for h, w in ((1, 2), (7, 9), (30, 40), (61, 80))
    )
    mask = (random(3, 95, 333, seed=9) < 0.9).to(device)
    classes = blocks_of_labels(3, 95, 333).to(device)
    weight = random(40, seed=10, low=0.2).to(device)
    scores = random(3, 4, 95, 333, seed=11, low=-3).to(device, dtype)
    attention = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0))
    last = logits.to(memory_format=torch.channels_last)
    fine, coarse = (labels_for(2, *size, classes=40).to(device) for size in ((250, 301), (47, 90)))
    return {
        "depth_aware": (lambda p: F.depth_aware_loss(p, target, reduction="per_image"), (pred,)),
        "depth_aware-masked": (
            lambda p: F.depth_aware_loss(p, target, mask=mask, distance="l1", log_offset=0.0, max_depth=5.0),
            (pred.transpose(1, 2).contiguous().transpose(1, 2),),
        ),
        "joint_gradient": (
            lambda p, s: F.joint_gradient_loss(p, target, semantics=s, reduction="per_image"),
            (pred, semantics),
        ),
        "joint_gradient-labels": (lambda p: F.joint_gradient_loss(p, target, mask, labels=classes), (pred,)),
        "attention_driven": (lambda p, z: attention(p, z, target, classes, mask).total, (pred, scores)),
        "semantic_focal": (lambda z: F.semantic_focal_loss(z, labels, reduction="per_image"), (logits,)),
        "semantic_focal-last": (lambda z: F.semantic_focal_loss(z, labels, weight=weight, gamma=0.5), (last,)),
        "semantic_focal_upsample": (
            lambda z: F.semantic_focal_loss(z, fine, weight=weight, upsample="bilinear", reduction="per_image"),
            (logits,),
        ),
        "semantic_focal_upsample-last": (
            lambda z: F.semantic_focal_loss(z, coarse, gamma=0.5, upsample="bilinear"),
            (last,),
        ),
        "lateral_sharing": (lambda g, *x: torch.stack(F.lateral_sharing(x, g)), (gates, *features)),
        "lateral_sharing-scalar": (lambda g, *x: torch.stack(F.lateral_sharing(x, g)), (gates[..., 0], *features)),
        "semi_dense_up_skip": (lambda *x: F.semi_dense_up_skip(x, (30, 40)), levels),
        "semi_dense_up_skip-nearest": (lambda *x: F.semi_dense_up_skip(x, (30, 40), mode="nearest"), levels),
    }


OPERATIONS = list(losses("cpu", DOUBLE))


def with_gradients(function: Callable[..., Tensor], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    inputs = tuple(x.detach().requires_grad_() for x in inputs)
    output = function(*inputs)
    weights = random(*output.shape, seed=77, low=-1).bfloat16().to(output)
    return output.detach(), *torch.autograd.grad(output, inputs, weights)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_kernels_are_as_exact_as_the_tensor_code(operation: str, dtype: torch.dtype) -> None:
    function, inputs = losses("cuda", dtype)[operation]
    exact_function, _ = losses("cuda", DOUBLE)[operation]
    with use_backend("triton"):
        ours = with_gradients(function, inputs)
    with use_backend("reference"):
        theirs = with_gradients(function, inputs)
        # Rounded to the dtype first: the error of the inputs is nobody's.
        wanted = with_gradients(exact_function, tuple(x.to(DOUBLE) for x in inputs))
    for a, b, c in zip(ours, theirs, wanted, strict=True):
        hair = 4 * torch.finfo(torch.promote_types(dtype, torch.float32)).eps
        error = (a.to(DOUBLE) - c).norm() / c.norm()
        assert error <= 1.1 * (b.to(DOUBLE) - c).norm() / c.norm() + hair


@pytest.mark.parametrize("operation", OPERATIONS)
def test_results_do_not_change_from_run_to_run(operation: str) -> None:
    function, inputs = losses("cuda", torch.float32)[operation]
    first, second = with_gradients(function, inputs), with_gradients(function, inputs)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_step_does_not_wait_for_the_device(operation: str) -> None:
    function, inputs = losses("cuda", torch.float32)[operation]
    inputs = tuple(x.requires_grad_() for x in inputs)
    output = function(*inputs)
    weights = torch.ones_like(output)
    torch.autograd.grad(output, inputs, weights)
    with no_waiting():
        torch.autograd.grad(function(*inputs), inputs, weights)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_step_is_captured_in_a_cuda_graph(operation: str) -> None:
    function, inputs = losses("cuda", torch.float32)[operation]
    inputs = tuple(x.requires_grad_() for x in inputs)
    weights = torch.ones_like(function(*inputs))
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        torch.autograd.grad(function(*inputs), inputs, weights)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = torch.autograd.grad(function(*inputs), inputs, weights)
    with torch.no_grad():
        for x in inputs:
            x.copy_(x.flip(0))
    graph.replay()
    for a, b in zip(captured, torch.autograd.grad(function(*inputs), inputs, weights), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_maps_beyond_two_billion_elements() -> None:
    if torch.cuda.mem_get_info()[0] < 30 * 2**30:
        pytest.fail("expected 30 GiB of free device memory")
    pred = torch.full((1, 46400, 46400), 2.0, dtype=torch.float16, device="cuda").requires_grad_()
    target = torch.ones_like(pred, requires_grad=False)
    with use_backend("triton"):
        loss = F.depth_aware_loss(pred, target, max_depth=10.0, distance="l1")
        (gradient,) = torch.autograd.grad(loss * 1e9, pred)
    wanted = 0.1 + 1 - torch.log(torch.tensor(2.0, dtype=DOUBLE)) / torch.log(torch.tensor(3.0, dtype=DOUBLE))
    torch.testing.assert_close(loss.cpu().to(DOUBLE), wanted, rtol=1e-5, atol=0)
    assert gradient.flatten()[-1] == gradient.flatten()[0] != 0
