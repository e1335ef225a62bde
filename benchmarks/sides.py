"""A side of a case: something that computes the case's operation, or what stands in for it elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

import depthattn
from benchmarks.inputs import Inputs, Tensors
from benchmarks.measure import Outcome, Run

OURS, REFERENCE, NAIVE, COMPILED, PEER = "ours", "reference", "naive", "compiled", "peer"
BACKENDS = ("cpu", "triton", "reference")
EVERYWHERE = ("cpu", "cuda")


@dataclass(frozen=True)
class Side:
    """One row of a case.

    Attributes:
        name: unique within the case.
        kind: ``"ours"``, ``"reference"``, ``"naive"``, ``"compiled"`` or ``"peer"``.
        build: makes the function to run; imports and compilers are only touched here.
        devices: the device types that it runs on.
        compiles: whether its first call runs a compiler, for seconds.
        definition: how its definition differs from the case's, if it does.
        expected: what it is checked against then.
    """

    name: str
    kind: str
    build: Callable[[], Run]
    devices: tuple[str, ...] = EVERYWHERE
    compiles: bool = False
    definition: str | None = None
    expected: Callable[[Inputs], Outcome] | None = None


def _on_backend(backend: str, run: Run) -> Callable[[], Run]:
    def chosen(t: Tensors) -> tuple[torch.Tensor, ...]:
        with depthattn.use_backend(backend):
            return run(t)

    return lambda: chosen


def ours(run: Run, *, label: str = "", kind: str = OURS) -> tuple[Side, ...]:
    """The library's way by its kernels."""
    suffix = f", {label}" if label else ""
    return (
        Side(f"cpu{suffix}", kind, _on_backend("cpu", run), devices=("cpu",)),
        Side(f"triton{suffix}", kind, _on_backend("triton", run), devices=("cuda",)),
    )


def reference(run: Run) -> Side:
    """The library's way where it has no kernels."""
    return Side("reference", REFERENCE, _on_backend("reference", run))


def naive(run: Run, *, name: str = "naive") -> Side:
    return Side(name, NAIVE, lambda: run)


def compiled(run: Run, *, name: str = "compiled") -> Side:
    """torch.compile of a naive implementation, for the very shapes of the case: the best it can do."""
    return Side(name, COMPILED, lambda: torch.compile(run, fullgraph=True, dynamic=False), compiles=True)


def peer(
    name: str,
    build: Callable[[], Run],
    *,
    devices: tuple[str, ...] = EVERYWHERE,
    definition: str | None = None,
    expected: Callable[[Inputs], Outcome] | None = None,
) -> Side:
    return Side(name, PEER, build, devices, definition=definition, expected=expected)
