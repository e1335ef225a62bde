"""Runs of train_nyu.py that are killed: each in a process of its own, forked from this one, which imports torch once.

    python killed_runs.py FOLDER ARGUMENT...    # with the root of the repository and examples/ on the path

In FOLDER, `whole` is never interrupted; every other run is killed at a moment of its own and then resumed.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# An optimiser imports it, which takes longer than a whole run: once here, instead of in each process.
import torch._dynamo  # noqa: F401
from tests.examples.factory import tiny_network

import reporting
import training.run
from training import app, checkpoint
from training.engine import Engine


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(owner: object, name: str, number: int, act: Callable[[], None], *, half_written: bool = False) -> None:
    """Have call ``number`` of a function come to nothing but ``act``."""
    original = getattr(owner, name)
    calls = 0

    def counted(*arguments: object, **options: object) -> object:
        nonlocal calls
        calls += 1
        if calls == number:
            if half_written:
                original(*arguments, **options)
                os.truncate(arguments[1], os.path.getsize(arguments[1]) // 2)
            act()
        return original(*arguments, **options)

    setattr(owner, name, counted)


def in_a_step() -> None:
    """In the second epoch, two steps behind the last checkpoint."""
    at_call(Engine, "_accumulate", 8, die)


def while_writing() -> None:
    """With half of the optimiser's state on the disk."""
    at_call(checkpoint, "save_file", 4, die, half_written=True)


def between_renames() -> None:
    """With the new checkpoint complete but not in its place: best, then last twice, each renamed after its first."""
    replaced = os.replace
    count = 0

    def counted(source: Path, target: Path) -> None:
        nonlocal count
        if Path(target).name == "last" and Path(target).parent.joinpath("last.previous").exists():
            count += 1
            if count == 2:
                die()
        replaced(source, target)

    os.replace = counted


def by_sigterm() -> None:
    """Asked to stop in the middle of an epoch, which saves and exits with 128 + 15."""
    at_call(Engine, "_accumulate", 6, lambda: os.kill(os.getpid(), signal.SIGTERM))


def by_ctrl_c_with_workers() -> None:
    """Asked to stop by the terminal, which sends SIGINT to loader workers too; saves and exits with 128 + 2."""
    os.setpgid(0, 0)
    at_call(Engine, "_accumulate", 6, lambda: os.killpg(0, signal.SIGINT))


# What stops each run, and the options of its first part and of what comes after.
MOMENTS = {
    in_a_step: ([], []),
    while_writing: ([], []),
    between_renames: ([], []),
    by_sigterm: ([], []),
    by_ctrl_c_with_workers: (["--workers", "2"], ["--workers", "1"]),
}


def run(prepare: Callable[[], None], arguments: list[str]) -> int:
    """The exit status of a run in another process; negative for a signal."""
    child = os.fork()
    if not child:
        # Pictures take longer than the rest.
        reporting.write_report = training.run.draw_curves = training.run.draw_contact_sheet = lambda *_: None
        app.build_model = tiny_network
        prepare()
        try:
            status = app.main(arguments)
        except SystemExit as stop:
            status = int(stop.code or 0)
        sys.stdout.flush()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    folder, arguments = Path(sys.argv[1]), sys.argv[2:]
    print("whole", run(lambda: None, [*arguments, "--output", str(folder / "whole")]), flush=True)
    for moment, (before, after) in MOMENTS.items():
        output = ["--output", str(folder / moment.__name__), "--resume"]
        stopped = run(moment, [*arguments, *output, *before])
        # The other options come from the run itself.
        print(moment.__name__, stopped, run(lambda: None, [*output, *after]), flush=True)
