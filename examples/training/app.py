"""From the command line to an exit status."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, set_seed

from depthattn.data import DataError
from scripting.failures import BAD_INPUT, FAILED, INTERRUPTED, explain, one_line
from scripting.messages import prepare_process, say, say_alone
from training.arguments import PROGRAM
from training.engine import TrainingStopped
from training.facts import RecordError
from training.network import build_model, check_compiler
from training.run import Interrupted, Run
from training.run_folder import RunFolder
from training.settings import Settings, parse
from training.sources import open_source

# How long processes wait for each other. One looks at the data alone at first, which NCCL's ten minutes may not do for.
_PATIENCE = timedelta(hours=1)

_SMALLER = "a smaller --batch-size (with --accumulate, for the same step) or --size"
# What gloo, NCCL and PyTorch's store say to a process whose peer has gone.
_PEER_GONE = re.compile(
    r"Connection (closed|reset|refused)|Broken pipe|Socket Timeout|DistBackendError|DistNetworkError|DistStoreError"
)


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status."""
    prepare_process()
    settings = parse(argv)
    try:
        run = _prepare(settings)
    except KeyboardInterrupt:
        say(f"{PROGRAM}: interrupted; nothing is kept")
        return INTERRUPTED
    except Exception as error:
        # Any kind: what explain() finds no user's situation in is a fault of the program, and raised again.
        explained = _explain(error, settings)
        if explained is None:
            raise
        line, status = explained
        _report(line, alike=isinstance(error, (ValueError, TypeError, ImportError)))
        return status
    folder = run.folder
    try:
        run.start()
        run.train()
        run.leave_group()
        run.finish()
    except Interrupted as stop:
        say(f"{PROGRAM}: stopped by {stop.signal.name} after step {stop.step}; --resume goes on from {folder.last}")
        return 128 + stop.signal
    except KeyboardInterrupt:
        folder.discard_if_empty()
        say(f"{PROGRAM}: interrupted in epoch {run.epoch}; {_kept(folder) or 'nothing is kept'}")
        return INTERRUPTED
    except Exception as error:
        # Any kind, as above; whatever ended the run, a folder without a checkpoint is of no use.
        folder.discard_if_empty()
        explained = _explain(error, settings)
        if explained is None:
            raise
        kept = _kept(folder)
        _report(f"{explained[0]}{'; ' * bool(kept)}{kept}", alike=isinstance(error, (TrainingStopped, RecordError)))
        return BAD_INPUT if isinstance(error, (DataError, RecordError)) else FAILED
    return 0


def _prepare(settings: Settings) -> Run:
    on_cpu = _on_cpu()
    if settings.precision == "fp16" and on_cpu:
        # accelerate would train in float32 and not say so.
        raise ValueError("--precision fp16: expected a GPU, got a CPU, which takes bf16")
    patience = InitProcessGroupKwargs(timeout=_PATIENCE)
    accelerator = Accelerator(mixed_precision=settings.precision, cpu=on_cpu, kwargs_handlers=[patience])
    set_seed(settings.seed)
    folder = RunFolder(settings.output, overwrite=settings.overwrite, resume=settings.resume)
    if settings.compile:
        check_compiler(accelerator.device)
    source = open_source(settings)
    # A run that goes on has weights of its own, and the file of the first ones may be gone.
    begun = replace(settings, encoder_weights=None) if folder.resumes else settings
    model = build_model(begun, len(source.class_names))
    return Run(settings, accelerator, folder, source, model)


def _on_cpu() -> bool:
    # Said outright, as torchrun on a machine without accelerators would otherwise start unconnected processes.
    # Apple's has no float64, in which losses are summed up.
    if not torch.accelerator.is_available():
        return True
    device = torch.accelerator.current_accelerator()
    return device is None or device.type == "mps"


def _kept(folder: RunFolder) -> str:
    return "" if folder.kept is None else f"the last checkpoint is {folder.kept}"


def _explain(error: Exception, settings: Settings) -> tuple[str, int] | None:
    if isinstance(error, TrainingStopped):
        return one_line(error), FAILED
    if isinstance(error, RuntimeError) and _processes() > 1 and _PEER_GONE.search(f"{type(error).__name__}: {error}"):
        return "another process of this run has ended, and says why in a line of its own", FAILED
    if settings.compile and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
        return f"--compile: expected a network that torch.compile takes, got: {one_line(error)}", FAILED
    return explain(error, _SMALLER)


def _report(line: str, *, alike: bool) -> None:
    """Say what ends the run: once where all processes meet it ``alike``, else by each that does."""
    if alike or _processes() == 1:
        say(f"{PROGRAM}: error: {line}")
    else:
        say_alone(f"{PROGRAM}: error: process {os.environ.get('RANK', '0')}: {line}")


def _processes() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))
