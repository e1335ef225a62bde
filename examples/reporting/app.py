"""The command line of run_report.py."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from prediction.network import load_trained
from reporting.measure import Predict
from reporting.record import BEST, read_record
from reporting.report import REPORT, write_report
from scripting.command_line import Parser
from scripting.console import exit_status, new_console
from scripting.outputs import check_output
from training.sources import open_source

PROGRAM = "run_report.py"

_DESCRIPTION = f"""\
Write {REPORT} into the folder of a run of train_nyu.py: scores, curves, the
depth of the training set, errors by depth and class, best and worst frames,
attention, and a point cloud. The training script writes it at its end. This
script writes it again, and for a run that was stopped. The data of the run must
be where they were.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report of the run that the command line names; returns the exit status."""
    parser = Parser(PROGRAM, _DESCRIPTION)
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of the run, such as runs/train")
    folder = parser.parse_args(argv).run
    return exit_status(PROGRAM, lambda: _report(folder), "nothing is written")


def _report(folder: Path) -> None:
    settings = read_record(folder).settings
    check_output("RUN", folder)
    predict = best_weights(folder)
    print(write_report(folder, open_source(settings), settings, predict, new_console()))


def best_weights(folder: Path) -> Predict:
    """What the network of the best epoch of a run predicts."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    net = load_trained(folder / BEST).net.to(device, memory_format=torch.channels_last).eval()

    @torch.no_grad()
    def predict(images: Tensor) -> tuple[Tensor, Tensor]:
        output = net(images.to(device).contiguous(memory_format=torch.channels_last))
        return output.depth.float().cpu(), output.semantics.argmax(1).cpu()

    return predict
