"""Runs of train_nyu.py that are stopped at a moment, each in a process of its own."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.examples.factory import tiny_network
from tests.forked import forked

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
# How a run ends there: by SIGKILL, or on its own after a signal that asks it to.
STATUSES = {in_a_step: -9, while_writing: -9, between_renames: -9, by_sigterm: 143, by_ctrl_c_with_workers: 130}


def run_of(prepare: Callable[[], None], arguments: Sequence[object], folder: Path) -> int:
    """The exit status of a run in another process; negative for a signal."""

    def program() -> int:
        # Pictures take longer than the rest.
        reporting.write_report = training.run.draw_curves = training.run.draw_contact_sheet = lambda *_: None
        app.build_model = tiny_network
        prepare()
        return app.main([*map(str, arguments)])

    return forked(program, folder).status
