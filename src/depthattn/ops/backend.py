"""Which implementation of an operation runs: chosen by name, or by the device of the tensors."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch

from depthattn.ops import native
from depthattn.ops.tracing import jit_traces

BACKENDS = ("auto", "reference", "cpu", "triton")
# Tuples of tensors as arguments of a kernel.
_OLDEST_TRITON = (3, 3)

# A plain global on purpose: torch.compile guards on it, so that a compiled step notices a change.
_selected = "auto"


def _triton_obstacle() -> str | None:
    """What keeps the Triton kernels from being compiled here, if anything does."""
    try:
        # A stand-in that somebody put into sys.modules may have anything for its spec.
        found = isinstance(importlib.util.find_spec("triton"), ModuleSpec)
    except Exception:
        found = False
    if not found:
        return "triton is not installed"
    try:
        version = importlib.metadata.version("triton")
    except importlib.metadata.PackageNotFoundError:
        # Nightly builds of PyTorch bring it under another name.
        return None
    except Exception as error:
        return f"triton cannot be asked for its version: {type(error).__name__}"
    numbers = re.match(r"(\d+)\.(\d+)", str(version))
    if numbers is None:
        return f"triton has the version {version!r}"
    return None if (int(numbers[1]), int(numbers[2])) >= _OLDEST_TRITON else f"triton is {version}, older than 3.3"


_obstacle = _triton_obstacle()
# Triton reads it once, at its import, and then runs kernels in NumPy on tensors of any device.
_triton_interprets = os.environ.get("TRITON_INTERPRET") == "1"


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Choose the implementation of all operations called inside the ``with`` block.

    Args:
        name: ``"auto"`` takes the C++ kernels for CPU tensors, the Triton kernels for CUDA tensors, and the formula in
            plain tensor code on other devices and where the kernels are missing. ``"reference"`` (the formula),
            ``"cpu"`` and ``"triton"`` force one; a call that it cannot serve raises an error with the reason.

    The choice holds for the whole process, like the flags of ``torch.backends``. A backward pass runs on the
    backend of its forward pass, also after the block has ended.

    Raises:
        ValueError: if ``name`` is not one of the four, or if it names kernels that cannot run here.

    Example:
        >>> import torch, depthattn
        >>> with depthattn.use_backend("reference"):
        ...     loss = depthattn.DepthAwareLoss()(torch.ones(1, 4, 4), torch.ones(1, 4, 4))
        >>> float(loss)
        0.0
    """
    global _selected
    if name not in BACKENDS:
        raise ValueError(f"use_backend: expected one of {', '.join(BACKENDS)}, got {name!r}")
    reason = obstacle_of(name)
    if reason is not None:
        raise ValueError(f"use_backend({name!r}): expected kernels that can run here, got none: {reason}")
    previous, _selected = _selected, name
    try:
        yield
    finally:
        _selected = previous


def obstacle_of(name: str) -> str | None:
    """Why a backend cannot run in this process, or None where it can."""
    if name == "triton":
        return _obstacle
    if name == "cpu":
        found = native.load()
        return found if isinstance(found, str) else None
    return None


def _has_cpu_kernels() -> bool:
    return obstacle_of("cpu") is None


# What torch.compiler.assume_constant_result does. That one imports the compiler, which stumbles over a stub of Triton.
_has_cpu_kernels._dynamo_marked_constant = True  # type: ignore[attr-defined]


def resolve(device: torch.device) -> str:
    """The name of the backend that serves a call on ``device``."""
    if _selected == "triton" and device.type != "cuda" and not _triton_interprets:
        raise ValueError(f"use_backend('triton'): expected tensors on a CUDA device, got tensors on {device}")
    if _selected == "cpu" and device.type != "cpu":
        raise ValueError(f"use_backend('cpu'): expected tensors on the CPU, got tensors on {device}")
    if _selected != "auto":
        return _selected
    if device.type == "cpu" and _has_cpu_kernels():
        return "cpu"
    return "triton" if device.type == "cuda" and _obstacle is None else "reference"


def exporting() -> bool:
    """Whether torch.export, torch.onnx.export or torch.jit.trace traces the call.

    The layers then take their reference formula, plain tensor code, so that the program runs where this library, whose
    operators are opaque to it, is not installed. PyTorch 2.6 cannot tell; a program exported there keeps the operators.
    """
    return jit_traces() or bool(getattr(torch.compiler, "is_exporting", bool)())


def resolve_layer(device: torch.device) -> str:
    """The backend of an operation that leaves its sizes open in a program that is traced: there, the formula."""
    return "reference" if exporting() else resolve(device)


def load(operation: str, backend: str) -> ModuleType:
    """Import the kernels of ``operation`` for ``backend``; the first call pays, later ones look up."""
    return importlib.import_module(f"depthattn.ops.{operation}.{backend}")


def show_config() -> str:
    """Print and return what runs here: versions, backends and what keeps one from running, instruction set, threads.

    Returns:
        The text that it prints.

    Raises:
        OSError: if standard output cannot be written to. What keeps a backend from running is a part of the text.

    Example:
        >>> import depthattn
        >>> text = depthattn.show_config()  # doctest: +ELLIPSIS
        depthattn ...
    """
    import platform

    from depthattn._version import __version__

    lines = [f"depthattn {__version__}, PyTorch {torch.__version__}, Python {platform.python_version()}"]
    library = native.load()
    if isinstance(library, str):
        lines.append(f"cpu        not available: {library}")
    else:
        lines.append(
            f"cpu        available: instruction set {library.instruction_set} ({platform.machine()}), "
            f"threads: {library.threads}, now {torch.get_num_threads()}"
        )
    if _obstacle is not None:
        lines.append(f"triton     not available: {_obstacle}")
    elif torch.cuda.is_available():
        lines.append(f"triton     available: {torch.cuda.get_device_name()}")
    else:
        lines.append("triton     installed; no CUDA device" + (", kernels interpreted" * _triton_interprets))
    lines.append("reference  available on every device")
    lines.append(f"selected   {_selected}")
    text = "\n".join(lines)
    print(text)
    return text
