"""What a loader's worker process does about signals."""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import TracebackType


def heed_main_only(worker: int) -> None:
    """Ignore the Ctrl-C and the SIGTERM that reach every process of a job, not the SIGTERM of the main process.

    The main process finishes its step first and needs its workers for that. It sends them SIGTERM when it exits, and
    then waits for them. Where it is interrupted as it fetches a batch, the thread that hands it over says nothing.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.excepthook = _not_of_connections
    # Only there can a process tell who sent a signal.
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _not_of_connections(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    # Errors of the frames go to the main process in another way.
    if not isinstance(error, (EOFError, OSError)):
        sys.__excepthook__(kind, error, trace)


def _end_with(main: int) -> None:
    while signal.sigwaitinfo([signal.SIGTERM]).si_pid != main:
        pass
    os._exit(0)
