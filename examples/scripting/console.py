"""What the terminal shows of work on many frames, and how a script ends."""

from __future__ import annotations

import sys
from collections.abc import Callable

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

BAD_INPUT, INTERRUPTED = 2, 130


def frame_progress(console: Console) -> Progress:
    """A bar with the count and the time that remains; nothing where the output is no terminal."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def exit_status(program: str, work: Callable[[], object], interrupted: str) -> int:
    """Do ``work``; where it cannot be done, say so in one line on standard error.

    Args:
        program: begins the line.
        work: what the script is for.
        interrupted: what there is after Ctrl-C.
    """
    try:
        work()
    except KeyboardInterrupt:
        print(f"{program}: interrupted; {interrupted}", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, ImportError, OSError) as error:
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        return BAD_INPUT
    return 0


def one_line(error: Exception) -> str:
    """What an error says, without line breaks."""
    # A DataLoader worker sends its traceback as the message; the error's own text is the end of it.
    return " ".join(str(error).strip().rsplit("DataError: ", 1)[-1].split())
