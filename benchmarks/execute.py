"""One case, start to end: build the sides, check them, time those that passed, find their peaks, judge the targets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks.cases import Case
from benchmarks.gate import check
from benchmarks.inputs import Inputs, Source
from benchmarks.measure import PASSES, Run, Schedule, differentiate, interleaved, peak_memory, summary
from benchmarks.sides import BACKENDS, Side
from benchmarks.targets import Row, judge, judge_memory

Advance = Callable[[str, float], None]


@dataclass(frozen=True)
class Plan:
    """How to run the cases: where, how long, and which sides to leave out."""

    device: torch.device
    schedule: Schedule
    backends: tuple[str, ...] = BACKENDS
    compile_only: tuple[str, ...] | None = None
    bandwidth: float = 0.0
    busy: int = 0

    def refusal(self, side: Side, case: Case) -> str | None:
        """Why ``side`` is not run, if it is not."""
        backend = side.name.partition(",")[0]
        if self.device.type not in side.devices:
            return f"needs {' or '.join(side.devices)} tensors"
        if backend in BACKENDS and backend not in self.backends:
            return "left out by --backend"
        if side.compiles and self.compile_only is not None and case.name not in self.compile_only:
            return "left out by --quick"
        return None


def execute(case: Case, dtype: torch.dtype, plan: Plan, advance: Advance) -> dict[str, Any]:
    """The record of one case in one dtype, as schema.json has it."""
    # Each case compiles for its own shapes: shapes seen before must not turn this one dynamic.
    torch.compiler.reset()
    inputs = case.make(Source(plan.device, dtype))
    expected = case.expected(inputs)
    rows: list[Row] = []
    runs: dict[str, Run] = {}
    for side in case.sides:
        advance(f"checking {side.name}", 0.3 / len(case.sides))
        row, run = _admit(side, case, inputs, expected, dtype, plan)
        rows.append(row)
        if run is not None:
            runs[side.name] = run
    # What the forward pass hands out has the size of the gradient that arrives in return; for a loss, one number.
    returned = sum(g.nbytes for g in inputs.cotangents) + sum(leaf.nbytes for leaf in inputs.leaves)
    minimal = _minimal_bytes(case, inputs)
    if runs:
        _measure(rows, runs, inputs, minimal, plan, advance)
    return {
        "name": case.name,
        "operation": case.operation,
        "title": case.title,
        "dtype": str(dtype).removeprefix("torch."),
        "inputs": {name: list(t.shape) for name, t in inputs.tensors.items()},
        "group": case.group,
        "returned_bytes": returned,
        "minimal_bytes": minimal,
        "rows": rows,
        "targets": judge(case.targets.get("busy" if plan.busy else plan.device.type, ()), rows)
        + (judge_memory(rows, returned) if case.bounds_memory and not plan.busy else []),
    }


def _admit(
    side: Side, case: Case, inputs: Inputs, expected: Any, dtype: torch.dtype, plan: Plan
) -> tuple[Row, Run | None]:
    row: Row = {"side": side.name, "kind": side.kind, "status": "absent"}
    if side.definition is not None:
        row["definition"] = side.definition
    reason = plan.refusal(side, case)
    if reason is not None:
        return {**row, "reason": reason}, None
    try:
        run = side.build()
    except ImportError as error:
        return {**row, "reason": _one_line(error)}, None
    try:
        outcome = differentiate(run, inputs)
    except (ImportError, RuntimeError, TypeError, ValueError) as error:
        return {**row, "status": "error", "reason": _one_line(error)}, None
    wanted = expected if side.expected is None else side.expected(inputs)
    verdict = check(outcome, wanted, dtype)
    row["check"] = verdict.record()
    if not verdict.passed:
        reason = f"wrong: value off by {verdict.value_error:.1e}, gradient by {verdict.gradient_error:.1e}"
        return {**row, "status": "red", "reason": reason}, None
    return {**row, "status": "ok"}, run


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"[:300]


def _measure(
    rows: Sequence[Row], runs: dict[str, Run], inputs: Inputs, minimal: dict[str, int], plan: Plan, advance: Advance
) -> None:
    samples = interleaved(runs, inputs, plan.device, plan.schedule, lambda done: advance("timing", 0.6 * done))
    for row in rows:
        if row["side"] not in runs:
            continue
        advance(f"memory of {row['side']}", 0.1 / len(runs))
        times = samples[row["side"]]
        row["rounds"] = len(times["both"])
        row["time_ms"] = {name: summary(times[name]) for name in PASSES}
        row["peak_bytes"] = peak_memory(runs[row["side"]], inputs, plan.device)
        if plan.bandwidth:
            row["bandwidth_fraction"] = {
                name: minimal[name] / (row["time_ms"][name]["median"] / 1e3) / plan.bandwidth for name in PASSES
            }


def _minimal_bytes(case: Case, inputs: Inputs) -> dict[str, int]:
    """Bytes that no implementation can avoid to read or write, each tensor once per pass.

    Over both passes a loss is held to reading its inputs once: forward can already write the gradient.
    """
    read = sum(t.nbytes for t in inputs.tensors.values())
    outputs = sum(t.nbytes for t in inputs.cotangents)
    gradients = sum(leaf.nbytes for leaf in inputs.leaves)
    forward = read + outputs
    backward = outputs + gradients + (read if case.backward_reads else 0)
    scalar = all(t.ndim == 0 for t in inputs.cotangents)
    return {
        "forward": forward,
        "backward": backward,
        "both": read + gradients + outputs if scalar else forward + backward,
    }
