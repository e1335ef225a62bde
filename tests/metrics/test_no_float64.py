"""No metric makes a float64 tensor, neither as a state nor on the way: some devices have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from depthattn.functional import align_scale_shift
from depthattn.metrics import (
    BoundaryF1,
    ConstantDepthBaseline,
    DepthBinnedMetrics,
    DepthMetrics,
    SegmentationMetrics,
    align_depth,
    class_weights,
)


class NoFloat64(TorchDispatchMode):
    """Raises wherever an operation returns a float64 tensor, as MPS does."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if any(isinstance(leaf, Tensor) and leaf.dtype == torch.float64 for leaf in tree_leaves(result)):
            raise TypeError(f"{func}: this device has no float64")
        return result


METRICS: dict[str, Callable[[], Any]] = {
    "pixels": lambda: DepthMetrics(pooling="pixels"),
    "images": lambda: DepthMetrics(pooling="images"),
    "no limit": lambda: DepthMetrics(max_depth=None),
    "binned": DepthBinnedMetrics,
    "boundaries": BoundaryF1,
    "constant": ConstantDepthBaseline,
    "labels": lambda: SegmentationMetrics(4),
}


def arguments(name: str, dtype: torch.dtype) -> tuple[Tensor, ...]:
    depth = (12 * torch.rand(2, 1, 9, 11)).to(dtype)
    if name == "labels":
        return torch.randn(2, 4, 9, 11, dtype=dtype), torch.randint(0, 4, (2, 9, 11))
    return (depth,) if name == "constant" else (depth + 0.1, depth)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", METRICS)
def test_metrics(name: str, dtype: torch.dtype) -> None:
    given = arguments(name, dtype)
    with NoFloat64():
        metric = METRICS[name]()
        metric.update(*given)
        metric(*given)  # forward reduces the batch's states into the others
        metric.compute()
        metric.reset()


@pytest.mark.parametrize("name", METRICS)
def test_updates_on_a_device_that_holds_no_numbers(name: str) -> None:
    """A meta tensor has no values, so that whatever waits for one of them fails."""
    metric = METRICS[name]().to("meta")
    given = [tensor.to("meta") for tensor in arguments(name, torch.float32)]
    with NoFloat64():
        metric.update(*given)
    assert {state.device.type for state in metric.metric_state.values()} == {"meta"}


@pytest.mark.parametrize("name", METRICS)
def test_nor_where_it_is_the_default_dtype(name: str) -> None:
    given = arguments(name, torch.float32)
    torch.set_default_dtype(torch.float64)
    try:
        with NoFloat64():
            metric = METRICS[name]()
            metric.update(*given)
            found = metric.compute()
    finally:
        torch.set_default_dtype(torch.float32)
    assert all(value.dtype != torch.float64 for value in tree_leaves(found))


def test_states_keep_their_dtypes() -> None:
    for make in METRICS.values():
        metric = make()
        metric.set_dtype(torch.float64).double().half()
        assert {state.dtype for state in metric.metric_state.values()} == {torch.int64}


def test_functions() -> None:
    pred, target = torch.rand(2, 5, 6), 0.1 + torch.rand(2, 5, 6)
    with NoFloat64():
        for space in ("depth", "disparity", "log"):
            for method in ("median", "least_squares"):
                align_depth(pred, target, method=method, space=space)
        align_scale_shift(pred, target)
        class_weights(torch.tensor([1, 2, 3]))
        class_weights(torch.tensor([1.0, 2.0, 3.0]), "effective_number")


def test_the_mode_sees_it() -> None:
    with pytest.raises(TypeError, match="no float64"), NoFloat64():
        torch.ones(2).double()
