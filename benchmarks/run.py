"""Measure depthattn against the naive implementation, the compiler and what else there is.

    python benchmarks/run.py [--device cpu|cuda] [--op OP ...] [--backend BACKEND ...] [--busy N] [--quick]
                             [--output DIR]

Every side is first checked, values and gradients, against the formula in float64; one that is wrong gets no time. With
--busy, N processes spin beside the measurement, as the workers of a DataLoader do. Exit code 0 if all that ran was
right, 1 if a side was wrong or failed, 2 for a wrong argument.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch

from benchmarks import machine, results
from benchmarks.cases import OPERATIONS, cases
from benchmarks.execute import Plan, execute
from benchmarks.measure import MEMORY_METHOD, Schedule, copy_bandwidth
from benchmarks.sides import BACKENDS
from benchmarks.targets import judge_growth
from depthattn._extras import require

FULL = Schedule(warmup=1, seconds=4, least=5, most=100, input_sets=64)
# A call on a few pixels takes microseconds.
SMALL = Schedule(warmup=5, seconds=1, least=5, most=1000, input_sets=8)
QUICK = Schedule(warmup=1, seconds=0.05, least=3, most=5, input_sets=4)
# The one operation whose compiled sides are cheap enough for --quick.
QUICK_COMPILES = ("lateral_sharing",)
COPY_BYTES = {"cpu": 2**28, "cuda": 2**30}
HALVES = (torch.float16, torch.bfloat16)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmarks/run.py", description="Measure depthattn, every side checked before it is timed."
    )
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--op", nargs="+", choices=OPERATIONS, default=list(OPERATIONS), metavar="OP",
                        help=f"operations, of {', '.join(OPERATIONS)}; all by default")  # fmt: skip
    parser.add_argument("--backend", nargs="+", choices=BACKENDS, default=list(BACKENDS), metavar="BACKEND",
                        help=f"our backends, of {', '.join(BACKENDS)}; all by default")  # fmt: skip
    parser.add_argument("--busy", type=int, default=0, metavar="N",
                        help="processes that spin beside the measurement; none by default")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="small sizes and few rounds: shows that it works")
    parser.add_argument("--output", type=Path, default=results.DEFAULT, metavar="DIR",
                        help="where result files go; benchmarks/results by default")  # fmt: skip
    options = parser.parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        parser.error("--device cuda: expected a CUDA device, got a machine or a PyTorch without one")
    if options.busy < 0:
        parser.error(f"--busy: expected 0 or a number of processes, got {options.busy}")
    return options


@contextmanager
def busy(processes: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """So many processes that compute as fast as they can."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(processes):
            started.append(subprocess.Popen([sys.executable, "-c", "while True: pass"]))
        yield started
    finally:
        for process in started:
            process.kill()
            process.wait()


def command_of(options: argparse.Namespace) -> str:
    """The command as it goes into the result: without --output, which is a folder of this machine."""
    words = ["python benchmarks/run.py", "--device", options.device]
    for flag, given, everything in (("--op", options.op, OPERATIONS), ("--backend", options.backend, BACKENDS)):
        if set(given) != set(everything):
            words += [flag, *given]
    if options.busy:
        words += ["--busy", str(options.busy)]
    return " ".join([*words, "--quick"] if options.quick else words)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    rich = require("rich.progress", extra="bench", purpose="the benchmark")
    device = torch.device(options.device)
    # float32 is to mean float32 on every side, and the profiler need not tell when it starts and stops.
    torch.backends.cudnn.allow_tf32 = False
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    selected = cases(options.op, quick=options.quick)
    dtypes = (torch.float32, *HALVES) if options.device == "cuda" else (torch.float32,)
    work = [(case, dtype) for case in selected for dtype in dtypes if dtype == torch.float32 or case.group == "main"]
    bandwidth = copy_bandwidth(device, COPY_BYTES[device.type] // (16 if options.quick else 1))
    plan = Plan(
        device=device,
        schedule=QUICK if options.quick else FULL,
        backends=tuple(options.backend),
        compile_only=QUICK_COMPILES if options.quick else None,
        bandwidth=bandwidth,
        busy=options.busy,
    )
    load_before = os.getloadavg()[0]
    columns = (
        rich.TextColumn("{task.description}"),
        rich.BarColumn(),
        rich.TaskProgressColumn(),
        rich.TimeElapsedColumn(),
    )
    records = []
    console = require("rich.console", extra="bench", purpose="the benchmark").Console(stderr=True)
    with busy(options.busy), rich.Progress(*columns, console=console) as progress:
        task = progress.add_task("", total=len(work))
        for number, (case, dtype) in enumerate(work):
            label = f"{case.name} {str(dtype).removeprefix('torch.')}"

            def advance(step: str, done: float, label: str = label) -> None:
                progress.update(task, advance=done, description=f"{label}: {step}")

            small = case.group == "small" and not options.quick
            records.append(execute(case, dtype, replace(plan, schedule=SMALL) if small else plan, advance))
            progress.update(task, completed=number + 1)
    if not (options.quick or options.busy):
        judge_growth(records)
    return {
        "machine": machine.describe(device),
        "load_average": {"before": load_before, "after": os.getloadavg()[0]},
        "versions": machine.versions(),
        "commit": machine.commit(),
        "date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "command": command_of(options),
        "busy": options.busy,
        "quick": options.quick,
        "complete": not options.quick and set(options.op) == set(OPERATIONS) and set(options.backend) == set(BACKENDS),
        "copy_bandwidth": bandwidth,
        "memory_method": MEMORY_METHOD[device.type],
        "cases": records,
    }


def failures(result: dict[str, Any]) -> list[str]:
    return [
        f"{case['name']} {case['dtype']}, {row['side']}: {row['reason']}"
        for case in result["cases"]
        for row in case["rows"]
        if row["status"] in ("red", "error")
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    options = parse(arguments)
    machine.keep_freed_memory()
    try:
        result = measure(options)
        path = results.write(result, options.output)
    except (ImportError, OSError, TypeError, ValueError) as error:
        print(f"benchmarks/run.py: {error}", file=sys.stderr)
        return 2
    print(f"wrote {path}")
    wrong = failures(result)
    for line in wrong:
        print(line, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
