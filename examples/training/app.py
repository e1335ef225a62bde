"""From the command line to an exit status."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, set_seed

from depthattn.data import DataError
from scripting.console import BAD_INPUT, INTERRUPTED, one_line
from training.arguments import PROGRAM
from training.engine import TrainingStopped
from training.facts import RecordError
from training.network import build_model
from training.run import Interrupted, Run
from training.run_folder import RunFolder
from training.settings import Settings, parse
from training.sources import open_source

FAILED = 1

# How long processes wait for each other. One looks at the data alone at first, which NCCL's ten minutes may not do for.
_PATIENCE = timedelta(hours=1)


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status."""
    settings = parse(argv)
    try:
        run = _prepare(settings)
    except (ValueError, TypeError, ImportError, OSError) as error:
        _fail(error, BAD_INPUT)
    folder = run.folder
    try:
        run.start()
        run.train()
        run.leave_group()
        run.finish()
    except Interrupted as stop:
        _say(f"{PROGRAM}: stopped by {stop.signal.name} after step {stop.step}; --resume goes on from {folder.last}")
        return 128 + stop.signal
    except KeyboardInterrupt:
        folder.discard_if_empty()
        _say(f"{PROGRAM}: interrupted in epoch {run.epoch}; {_kept(folder) or 'nothing is kept'}")
        return INTERRUPTED
    except DataError as error:
        folder.discard_if_empty()
        _fail(error, BAD_INPUT, _kept(folder))
    except (TrainingStopped, RecordError, ImportError, OSError) as error:
        folder.discard_if_empty()
        _fail(error, FAILED, _kept(folder))
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
    source = open_source(settings)
    model = build_model(settings, len(source.class_names))
    return Run(settings, accelerator, folder, source, model)


def _on_cpu() -> bool:
    # Said outright, as torchrun on a machine without accelerators would otherwise start unconnected processes.
    # Apple's has no float64, in which losses and scores are summed up.
    if not torch.accelerator.is_available():
        return True
    device = torch.accelerator.current_accelerator()
    return device is None or device.type == "mps"


def _kept(folder: RunFolder) -> str:
    return "" if folder.kept is None else f"the last checkpoint is {folder.kept}"


def _say(text: str) -> None:
    # What all processes of a machine meet is said by one of them.
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(text, file=sys.stderr)


def _fail(error: Exception, status: int, more: str = "") -> NoReturn:
    _say(f"{PROGRAM}: error: {one_line(error)}{'; ' * bool(more)}{more}")
    raise SystemExit(status)
