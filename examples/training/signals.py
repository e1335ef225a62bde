"""SIGINT and SIGTERM as a wish to stop between two steps."""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Any

from training.arguments import PROGRAM

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """While it is entered, SIGINT and SIGTERM are noted; a second Ctrl-C stops at once, as Python does.

    Args:
        announce: whether to say on stderr that the wish was heard.

    Attributes:
        signal: the first signal that came, or None.
    """

    def __init__(self, *, announce: bool) -> None:
        self.signal: signal.Signals | None = None
        self._announce = announce
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopRequest:
        self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.signal is not None

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        self.signal = signal.Signals(number)
        if self._announce:
            # Not print: the signal may have come in the middle of another one.
            os.write(2, f"\n{PROGRAM}: stopping after this step; Ctrl-C stops at once\n".encode())
