"""Which implementation of an operation runs: chosen by name, or by the device of the tensors."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import torch

from depthattn.ops.tracing import jit_traces

BACKENDS = ("auto", "eager", "inductor", "triton")

# A plain global on purpose: torch.compile guards on it, so that a compiled step notices a change.
_selected = "auto"


def _triton_obstacle() -> str | None:
    """What keeps the kernels from being compiled here, if anything does."""
    if importlib.util.find_spec("triton") is None:
        return "an environment without it"
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        # Nightly builds of PyTorch bring it under another name.
        return None
    major, minor = (int(part) for part in version.split(".")[:2])
    # Tuples of tensors as arguments of a kernel.
    return None if (major, minor) >= (3, 3) else f"Triton {version}"


_obstacle = _triton_obstacle()
# Triton reads it once, at its import, and then runs kernels in NumPy on tensors of any device.
_triton_interprets = os.environ.get("TRITON_INTERPRET") == "1"


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the implementation of all operations called inside the ``with`` block.

    Args:
        name: ``"auto"`` takes hand-written Triton kernels for CUDA tensors where Triton is installed and the
            tiled tensor code everywhere else. ``"eager"``, ``"inductor"`` and ``"triton"`` name one; a call
            that it cannot serve raises an error with the reason instead of falling back.

    The choice holds for the whole process, like the flags of ``torch.backends``. A backward pass runs on the
    backend that its forward pass ran on, also after the block has ended.

    Raises:
        ValueError: if ``name`` is not one of the four.

    Example:
        >>> import torch, depthattn
        >>> with depthattn.use_backend("eager"):
        ...     loss = depthattn.DepthAwareLoss()(torch.ones(1, 4, 4), torch.ones(1, 4, 4))
        >>> float(loss)
        0.0
    """
    global _selected
    if name not in BACKENDS:
        raise ValueError(f"use_backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    previous, _selected = _selected, name
    try:
        yield
    finally:
        _selected = previous


def resolve(device: torch.device) -> str:
    """The name of the backend that serves a call on ``device``."""
    if _selected == "triton" and device.type != "cuda" and not _triton_interprets:
        raise ValueError(f"use_backend('triton'): expected tensors on a CUDA device, got tensors on {device}")
    if _selected != "auto":
        return _selected
    return "triton" if device.type == "cuda" and _obstacle is None else "eager"


def exporting() -> bool:
    """Whether torch.export, torch.onnx.export or torch.jit.trace traces the call.

    The layers then take their reference formula, plain tensor code, so that the program runs where this library, whose
    operators are opaque to it, is not installed. PyTorch 2.6 cannot tell; a program exported there keeps the operators.
    """
    return jit_traces() or bool(getattr(torch.compiler, "is_exporting", bool)())


def load(operation: str, backend: str) -> ModuleType:
    """Import the implementation of ``operation`` for ``backend``; the first call pays, later ones look up."""
    if backend == "triton" and _obstacle is not None:
        raise ValueError(
            f"{operation}: expected Triton 3.3 or newer for use_backend('triton'), got {_obstacle} "
            "(pip install 'triton>=3.3')"
        )
    return importlib.import_module(f"depthattn.ops.{operation}.{backend}")


def keeps_gradient(backend: str, dtype: torch.dtype) -> bool:
    """Whether a loss writes its unscaled gradient already in the forward pass.

    On the CPU one pass of logarithms and exponentials instead of two is worth the buffer, which the first
    backward pass gives away as the gradient itself. Half precision would round twice, so it recomputes.
    """
    return backend != "triton" and dtype in (torch.float32, torch.float64)
