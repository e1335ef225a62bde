"""Programs in processes forked from this one, which has imported what takes longer than they do."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

_PATIENCE = 300


@dataclass(frozen=True)
class Ended:
    """How a process ended: its status, negative for a signal, and what it wrote."""

    status: int
    out: str
    err: str


def forked(program: Callable[[], int], folder: Path, **variables: str) -> Ended:
    """What becomes of ``program`` in a process of its own, whose output goes by way of ``folder``."""
    return _ended(_fork(program, folder, variables), folder)


def group(program: Callable[[], int], folder: Path, *, processes: int = 2) -> list[Ended]:
    """What becomes of ``program`` in processes that find each other as torchrun's do; none is killed for another."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(processes)}
    folders = [folder / f"process{rank}" for rank in range(processes)]
    children = [
        _fork(program, place, {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, place in enumerate(folders)
    ]
    return [_ended(child, place) for child, place in zip(children, folders, strict=True)]


def _fork(program: Callable[[], int], folder: Path, variables: dict[str, str]) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    child = os.fork()
    if not child:
        status = 1
        try:
            for descriptor, name in ((1, "out"), (2, "err")):
                file = os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
                os.dup2(file, descriptor)
            sys.stdout, sys.stderr = (os.fdopen(d, "w", encoding="utf-8", buffering=1, closefd=False) for d in (1, 2))
            os.environ.update(variables)
            # The threads of the parent are not here.
            torch.set_num_threads(1)
            status = program()
        except SystemExit as stop:
            status = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    return child


def _ended(child: int, folder: Path) -> Ended:
    deadline = time.monotonic() + _PATIENCE
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.02)
    out, err = ((folder / name).read_text(encoding="utf-8") for name in ("out", "err"))
    return Ended(os.waitstatus_to_exitcode(status), out, err)
