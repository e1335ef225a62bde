"""What the terminal shows of work on many frames, and how a script ends."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Callable

from rich.console import Console, ConsoleDimensions
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
from rich.status import Status

from scripting.failures import INTERRUPTED, OUTPUT_CLOSED, explain
from scripting.messages import prepare_process, say_alone

FACT_INDENT = 12


def new_console(*, quiet: bool = False) -> Console:
    """Standard output as rich has it, also where ``COLUMNS`` or ``LINES`` is 0, which stands for a size not known."""
    known = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES") or value.strip("0")}
    console = Console(highlight=False, quiet=quiet, _environ=known)
    if console.is_dumb_terminal:
        # rich takes any such terminal for one of 80 columns.
        console.size = ConsoleDimensions(*shutil.get_terminal_size())
    return console


def print_fact(console: Console, text: str, style: str | None = None) -> None:
    """A line that begins with a word and its padding. A terminal gets it in lines of its width, indented alike.

    Anything else gets it whole; so does a word that is longer than a line, as a path may be.
    """
    if console.is_terminal:
        indent = " " * min(FACT_INDENT, console.width // 4)
        text = textwrap.fill(
            text, console.width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False,
            drop_whitespace=True,
        )  # fmt: skip
    console.print(text, markup=False, soft_wrap=True, style=style)


def live_progress(console: Console, *columns: ProgressColumn) -> Progress:
    """A bar that is redrawn in place; nothing where the output is no terminal, or one that cannot move its cursor."""
    return Progress(*columns, console=console, transient=True, disable=not console.is_interactive)


def frame_progress(console: Console) -> Progress:
    """A bar with the count and the time that remains."""
    return live_progress(
        console, TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    )


def working(console: Console, text: str) -> Status:
    """What is being done, beside something that moves, of letters that every console has."""
    return console.status(text, spinner="line")


def exit_status(
    program: str,
    work: Callable[[], int | None],
    interrupted: str,
    smaller: str = "a smaller image or batch",
) -> int:
    """Do ``work``; where it cannot be done, say so in one line on standard error.

    Args:
        program: begins the line.
        work: what the script is for; may return a status of its own.
        interrupted: what there is after Ctrl-C.
        smaller: what takes less memory, for the line about having none left.
    """
    prepare_process()
    try:
        return work() or 0
    except KeyboardInterrupt:
        say_alone(f"{program}: interrupted; {interrupted}")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read the output has gone. Python would complain once more when it ends and flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OUTPUT_CLOSED
    except Exception as error:
        # Any kind: what explain() finds no user's situation in is a fault of the program, and raised again.
        explained = explain(error, smaller)
        if explained is None:
            raise
        line, status = explained
        say_alone(f"{program}: error: {line}")
        return status
