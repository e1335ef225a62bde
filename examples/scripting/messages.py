"""Lines on standard error, and a process that can print whatever a name holds."""

from __future__ import annotations

import _thread
import io
import os
import sys
import threading
from typing import Any

_warned: set[str] = set()


def prepare_process() -> None:
    """Let output and errors take any text: what their encoding lacks is written as an escape, as in ``\\xe9``.

    A stream that was closed before the start takes everything and keeps nothing. An error of the disk in a thread, as
    that of TensorBoard, is left to those who hand it work, who meet it too. A Ctrl-C is not lost where Python drops it.
    """
    threading.excepthook = _thread_ended
    sys.unraisablehook = _dropped
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


def _dropped(dropped: Any) -> None:
    """A Ctrl-C in a callback, as of a weak reference, ends nothing: it is sent again, when that is over."""
    if issubclass(dropped.exc_type, KeyboardInterrupt):
        threading.Timer(0.05, _thread.interrupt_main).start()
    else:
        sys.__unraisablehook__(dropped)


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if not isinstance(ended.exc_value, OSError):
        threading.__excepthook__(ended)
