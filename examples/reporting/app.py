"""The command line of run_report.py."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import torch
from rich.console import Console
from torch import Tensor

from prediction.network import load_trained
from reporting.measure import Predict
from reporting.record import BEST, read_record
from reporting.report import REPORT, write_report
from training.sources import open_source

PROGRAM = "run_report.py"
BAD_INPUT, INTERRUPTED = 2, 130

_DESCRIPTION = f"""\
Write {REPORT} into the folder of a run of train_nyu.py: scores, curves, the depth of the training set, errors by depth
and class, best and worst frames, attention, and a point cloud. The training script writes it at its end; this makes it
again, or for a run that was stopped. It needs the data of the run where they were.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report of the run that the command line names; returns the exit status."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=_DESCRIPTION)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run, such as runs/train")
    folder = parser.parse_args(argv).run
    try:
        settings = read_record(folder).settings
        predict = _best_weights(folder)
        source = open_source(settings)
        path = write_report(folder, source, settings, predict, Console(highlight=False))
    except KeyboardInterrupt:
        print(f"{PROGRAM}: interrupted; nothing is written", file=sys.stderr)
        return INTERRUPTED
    except (ValueError, TypeError, ImportError, OSError) as error:
        _fail(error)
    print(path)
    return 0


def _best_weights(folder: Path) -> Predict:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = load_trained(folder / BEST).net.to(device, memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def predict(images: Tensor) -> tuple[Tensor, Tensor]:
        output = net(images.to(device).contiguous(memory_format=torch.channels_last))
        return output.depth.float().cpu(), output.semantics.argmax(1).cpu()

    return predict


def _fail(error: Exception) -> NoReturn:
    # A DataLoader worker sends its traceback as the message; the error's own text is the end of it.
    text = str(error).strip().rsplit("DataError: ", 1)[-1]
    print(f"{PROGRAM}: error: {' '.join(text.split())}", file=sys.stderr)
    raise SystemExit(BAD_INPUT)
