"""What torch.jit.trace needs to know of a layer."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def jit_traces() -> bool:
    """Whether torch.jit.trace runs the call; sizes of tensors then are tensors themselves."""
    return bool(torch.jit.is_tracing())  # type: ignore[attr-defined, no-untyped-call]  # torch's stubs leave it out


def traced_quietly(forward: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Let torch.jit.trace pass a ``forward`` whose conditions on shapes are checks alone.

    The tracer warns at each of them that it keeps the answer. It does, and loses nothing: the sizes stay open.
    """

    @functools.wraps(forward)
    def run(*arguments: _Arguments.args, **options: _Arguments.kwargs) -> _Result:
        if not jit_traces():
            return forward(*arguments, **options)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # type: ignore[attr-defined]  # as above
            return forward(*arguments, **options)

    return run
