"""Reads damaged files in a process of its own, and judges what comes of it.

Reading has to end in one of two ways: it works, or an error that our own code raised says in one line what is wrong.
Another error, a crash of the interpreter, minutes of work, much memory for a small file, a file that appears, a look
at the network, or code that was in the file and ran: each is a failure.
"""

from __future__ import annotations

import importlib
import linecache
import multiprocessing
import os
import resource
import signal
import socket
import sys
import tempfile
import warnings
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from tests.examples.factory import ROOT
from tests.files.kind import Kind

# For one set of damaged files of some kilobytes.
CPU_SECONDS, SECONDS, MEGABYTES = 20, 120, 256
# Pillow's own limit is of pictures that are real.
_PIXELS = 2**20
_OURS = (str(ROOT / "src" / "depthattn"), str(ROOT / "examples"), str(ROOT / "tests" / "files"))
_LONGEST = 6000
# Found once this module is there, which puts their folder on the path.
_LOADED = ("training.settings", "prediction.app", "evaluation.predictors", "reporting.record")


VERDICTS = ("read", "refused", "failed")


class Outcome(NamedTuple):
    """``verdict`` is one of ``VERDICTS``; ``reason`` says why it was not read."""

    kind: str
    seed: int
    verdict: str
    reason: str


def outcomes(kind: Kind, seeds: range, home: str = "tests.files.kinds") -> Iterator[Outcome]:
    """What comes of reading ``kind``, one of the ``KINDS`` of the module ``home``, with the damage of each seed."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, *_LOADED])
    first = seeds.start
    while first < seeds.stop:
        reader, writer = context.Pipe(duplex=False)
        worker: Any = context.Process(target=_work, args=(home, kind.name, first, seeds.stop, writer))
        worker.start()
        writer.close()
        try:
            while first < seeds.stop:
                outcome = reader.recv()
                first += 1
                yield outcome
        except EOFError:
            worker.join()
            if worker.exitcode:
                yield Outcome(kind.name, first, "failed", _end(worker.exitcode))
                first += 1
        finally:
            reader.close()
            worker.kill()
            worker.join()


def _end(code: int) -> str:
    if code in (-signal.SIGPROF, -signal.SIGALRM):
        return f"still at work after {CPU_SECONDS} s of CPU time or {SECONDS} s"
    return f"the interpreter died: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def _work(home: str, name: str, first: int, last: int, results: Connection) -> None:
    """Send an outcome for each seed; stop after one that took memory, which the next would be blamed for."""
    kind = next(kind for kind in importlib.import_module(home).KINDS if kind.name == name)
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = _PIXELS
    socket.getaddrinfo = _no_network
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "whole")
        folder.mkdir()
        kind.make(folder)
        whole = _contents(folder)
        # Without damage: what is loaded at the first reading is not the damage's fault.
        kind.read(folder)
        before = _peak()
        _limit_memory()
        for seed in range(first, last):
            results.send(_attempt(kind, whole, Path(scratch), seed, before))
            if _peak() - before > MEGABYTES:
                return


def _no_network(*_: object, **__: object) -> Any:
    raise AssertionError("asked for an address on the network")


def _limit_memory() -> None:
    # What asks for much more than is in the file is refused by the system, and seen as a MemoryError.
    if sys.platform == "linux":
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + 2 * MEGABYTES * 2**20,) * 2)


def _peak() -> float:
    """Megabytes that this process held at its highest."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 2**20)


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _attempt(kind: Kind, whole: dict[str, bytes], home: Path, seed: int, before: float) -> Outcome:
    folder = home / f"seed{seed}"
    for name, content in whole.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    kind.spoil(folder, np.random.default_rng(seed))
    os.chdir(folder)
    written = _contents(folder).keys()
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        kind.read(folder)
        verdict, reason = "read", ""
    except Exception as error:
        verdict, reason = _judged(error, str(home))
    signal.setitimer(signal.ITIMER_PROF, 0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    if (folder / "hacked").exists():
        verdict, reason = "failed", "code in the file ran"
    elif _contents(folder).keys() != written:
        verdict, reason = "failed", f"appeared: {', '.join(_contents(folder).keys() - written)}"
    elif _peak() - before > MEGABYTES:
        verdict, reason = "failed", f"took {_peak() - before:.0f} MB ({verdict}: {reason:.200})"
    os.chdir(home)
    if verdict != "failed":
        _remove(folder)
    return Outcome(kind.name, seed, verdict, reason)


def _remove(folder: Path) -> None:
    for path in sorted(folder.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    folder.rmdir()


def _judged(error: Exception, home: str) -> tuple[str, str]:
    """An error of ours, raised by our code, of one line that names the file or the option."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    source = "" if frame is None else frame.tb_frame.f_code.co_filename
    text = str(error)
    line = 0 if frame is None else frame.tb_lineno
    # What a built-in function raises comes from one of our lines, too.
    ours = source.startswith(_OURS) and linecache.getline(source, line).strip().startswith("raise ")
    if not ours or not isinstance(error, (ValueError, TypeError)):
        return "failed", f"{type(error).__name__} from {source}:{line}: {text:.300}"
    if "\n" in text or "\r" in text or len(text) > _LONGEST:
        return "failed", f"an error of {text.count(chr(10)) + 1} lines and {len(text)} characters: {text:.300}"
    return "refused", text.replace(home, "")
