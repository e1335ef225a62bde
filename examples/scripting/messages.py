"""Lines on standard error, and a process that can print whatever a name holds."""

from __future__ import annotations

import io
import os
import sys
import threading

_warned: set[str] = set()


def prepare_process() -> None:
    """Let output and errors take any text: what their encoding lacks is written as an escape, as in ``\\xe9``.

    A stream that was closed before the start takes everything and keeps nothing. An error of the disk in a thread, as
    that of TensorBoard, is left to those who hand it work, who meet it too.
    """
    threading.excepthook = _thread_ended
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  # open as long as the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Write what all processes of a machine meet alike: one of them says it."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        say_alone(text)


def say_alone(text: str) -> None:
    """Write what only this process knows, in one line: names may hold line breaks."""
    print(text.replace("\n", "\\n"), file=sys.stderr, flush=True)


def warn_once(about: str, text: str) -> None:
    """Write a warning, the first time that it is about this."""
    if about not in _warned:
        _warned.add(about)
        say_alone(f"warning: {text}")


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if not isinstance(ended.exc_value, OSError):
        threading.__excepthook__(ended)
