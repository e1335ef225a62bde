"""Tile functions through torch.compile: one graph per case of dtypes and options, whatever the sizes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from types import FunctionType
from typing import Any

import torch
from torch import Tensor


class Compiled:
    """A tensor function that torch.compile compiles at the first call of each case.

    A case is the options, which become constants of the graph, and the dtypes and layouts of the tensors.
    Within one case sizes are dynamic, so that a new image size meets compiled code.

    Args:
        function: called as ``function(*tensors, **options)`` with every option by keyword.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._cases: dict[Hashable, Callable[..., Any]] = {}

    def __call__(self, *tensors: Tensor | None, **options: Hashable) -> Any:
        case = (tuple(options.items()), tuple(None if t is None else _layout(t) for t in tensors))
        run = self._cases.get(case)
        if run is None:
            bound = _twin(_bound(self._function, options))
            run = self._cases[case] = torch.compile(bound, dynamic=True, fullgraph=True)
        return run(*tensors)


def _bound(function: Callable[..., Any], options: Mapping[str, Hashable]) -> Callable[..., Any]:
    """``function`` of the tensors alone, with its options as constants.

    Floats go through text. As they are, the compiler would take them for inputs, and PyTorch leaves the value of such
    an input out of the key under which it keeps code on disk, though q ** 2 has become q * q in it: another process
    would be handed that code for every other exponent.
    """
    floats = {name: repr(value) for name, value in options.items() if isinstance(value, float)}
    others = {name: value for name, value in options.items() if name not in floats}

    def call(*tensors: Tensor | None) -> Any:
        return function(*tensors, **others, **{name: float(text) for name, text in floats.items()})

    return call


def _layout(tensor: Tensor) -> Hashable:
    """What torch.compile would specialise a graph on: dtype, device, contiguity and the axes of size one."""
    ones = tuple(size == 1 for size in tensor.shape)
    steps = None if tensor.is_contiguous() else tuple(min(stride, 2) for stride in tensor.stride())
    return tensor.dtype, tensor.device, ones, steps


def _twin(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function over its own code object: torch.compile counts recompilations per code object."""
    twin = FunctionType(
        function.__code__.replace(),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin
