"""The command line of train_nyu.py and the settings that come of it."""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

PROGRAM = "train_nyu.py"

# The encoders halve the picture five times.
_SMALLEST = 32

_DESCRIPTION = """\
Train SynergyNet, depth and semantic labels from one image, with the attention-driven loss.

Without a data option it trains a small network on SyntheticRooms, made on the fly: a demo of a few
minutes on two CPU cores. With --nyu, --list or --folder the defaults are those of a full training.
Where the two differ, both are given: (synthetic | full). What is in force is printed at the start.
"""

_EPILOG = """\
examples:
  train_nyu.py                                                     the demo
  train_nyu.py --nyu nyu_depth_v2_labeled.mat                      NYU Depth v2, official split
  train_nyu.py --list train.txt --val-list test.txt --root data    BTS-style lists
  accelerate launch train_nyu.py --nyu nyu_depth_v2_labeled.mat --precision bf16
"""


@dataclass(frozen=True)
class Defaults:
    """What depends on whether the data are synthetic."""

    encoder: str
    decoder_channels: tuple[int, ...]
    size: tuple[int, int]
    epochs: int
    batch_size: int
    lr: float
    loss_weights: tuple[str, str, str]
    train_frames: int | None
    val_frames: int | None
    max_scale: float
    jitter: float
    workers: int


SYNTHETIC = Defaults(
    encoder="resnet18",
    decoder_channels=(128, 64, 32),
    size=(96, 128),
    epochs=6,
    batch_size=16,
    lr=2e-3,
    # With plain ones the gradient term, whose Sobel kernels gain 8, keeps the depth flat for the first epochs.
    loss_weights=("4", "0.5", "1"),
    train_frames=768,
    val_frames=96,
    max_scale=1.2,
    jitter=0.2,
    workers=0,
)
FULL = Defaults(
    encoder="resnet50",
    decoder_channels=(512, 256, 128, 64),
    size=(228, 304),
    epochs=50,
    batch_size=8,
    lr=3e-4,
    loss_weights=("1", "1", "1"),
    train_frames=None,
    val_frames=None,
    max_scale=1.5,
    jitter=0.4,
    workers=4,
)


@dataclass(frozen=True)
class Settings:
    """One run, complete: every default is filled in."""

    nyu: Path | None
    splits: Path | None
    classes: int
    depth: str
    list: Path | None
    val_list: Path | None
    root: Path | None
    folder: Path | None
    val_folder: Path | None
    num_classes: int | None
    ignore_value: int
    first_label: int
    depth_scale: float
    train_frames: int | None
    val_frames: int | None
    size: tuple[int, int]
    max_scale: float
    jitter: float
    encoder: str
    encoder_weights: Path | None
    decoder_channels: tuple[int, ...]
    sharing: str | None
    up_skip: bool
    distance: str
    log_offset: float
    max_depth: float
    gamma: float
    loss_weights: tuple[float, float, float] | str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    precision: str
    workers: int
    seed: int
    output: Path
    overwrite: bool

    def as_json(self) -> dict[str, Any]:
        return {name: str(value) if isinstance(value, Path) else value for name, value in asdict(self).items()}


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One line, like every other error of the script; argparse would print the whole usage first.
        self.exit(2, f"{PROGRAM}: error: {message} (see --help)\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, 110) - 2
        super().__init__(prog, max_help_position=34, width=width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # "-o, --output DIR" in place of "-o DIR, --output DIR"
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        values = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {values}"


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the command line; exits with status 2 and one line where it does not hold together."""
    parser = _parser()
    arguments = parser.parse_args(argv)
    given = vars(arguments)
    sources = [f"--{name}" for name in ("nyu", "list", "folder") if given[name] is not None]
    if len(sources) > 1:
        parser.error(f"wanted one data source, got {' and '.join(sources)}")
    for option, source in (("splits", "nyu"), ("val_list", "list"), ("root", "list"), ("val_folder", "folder")):
        if given[option] is not None and given[source] is None:
            parser.error(f"--{option.replace('_', '-')} goes with --{source}, which is not given")
    if given["size"] is not None and min(given["size"]) < _SMALLEST:
        parser.error(f"--size: wanted at least {_SMALLEST} pixels each way, got {' '.join(map(str, given['size']))}")
    defaults = FULL if sources else SYNTHETIC
    for field in fields(Defaults):
        if given[field.name] is None:
            given[field.name] = getattr(defaults, field.name)
    for name in ("size", "decoder_channels"):
        given[name] = tuple(given[name])
    given["sharing"] = None if given["sharing"] == "none" else given["sharing"]
    given["loss_weights"] = _loss_weights(parser, given["loss_weights"])
    return Settings(**given)


def _loss_weights(parser: argparse.ArgumentParser, words: Sequence[str]) -> tuple[float, float, float] | str:
    if list(words) == ["learned"]:
        return "learned"
    try:
        first, second, third = (float(word) for word in words)
    except ValueError:
        parser.error(f'--loss-weights: wanted three numbers or "learned", got {" ".join(words)!r}')
    return first, second, third


def _both(name: str) -> str:
    values = (getattr(SYNTHETIC, name), getattr(FULL, name))
    texts = ["all" if v is None else " ".join(map(str, v)) if isinstance(v, tuple) else f"{v}" for v in values]
    return f"({texts[0]} | {texts[1]})"


def _positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number >= 1, got {word}")
    return number


def _natural(word: str) -> int:
    number = int(word)
    if number < 0:
        raise argparse.ArgumentTypeError(f"wanted a whole number >= 0, got {word}")
    return number


def _above_zero(word: str) -> float:
    number = float(word)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted a number > 0, got {word}")
    return number


# argparse names the type in its own message for a word that is no number.
_positive.__name__ = _natural.__name__ = "whole number"
_above_zero.__name__ = "number"


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog=PROGRAM, description=_DESCRIPTION, epilog=_EPILOG, formatter_class=_HelpFormatter, add_help=False,
        usage=f"{PROGRAM} [--nyu MAT | --list TXT | --folder DIR] [options]",
    )  # fmt: skip
    _add_data(parser)
    _add_model(parser)
    _add_loss(parser)
    _add_training(parser)
    return parser


def _add_data(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("data (SyntheticRooms if none is given)").add_argument
    add("--nyu", type=Path, metavar="MAT", help="NYU Depth v2, the official nyu_depth_v2_labeled.mat")
    add("--splits", type=Path, metavar="MAT", help="splits.mat of NYU (the official split, built in)")
    add("--classes", type=int, choices=(40, 13, 894), default=40, help="NYU label set (40)")
    add(
        "--depth",
        choices=("raw", "inpainted"),
        default="raw",
        help="NYU depth: as measured, with holes, or filled (raw)",
    )
    add("--list", type=Path, metavar="TXT", help="list of 'image depth [focal]' lines, as BTS has them")
    add("--val-list", type=Path, metavar="TXT", help="the same for validation; else every tenth frame")
    add("--root", type=Path, metavar="DIR", help="folder that the lines start from (that of the list)")
    add(
        "--folder",
        type=Path,
        metavar="DIR",
        help="folder with images/ and depths/ and/or labels/",
    )
    add(
        "--val-folder",
        type=Path,
        metavar="DIR",
        help="the same for validation; else every tenth frame",
    )
    add("--num-classes", type=_positive, metavar="K", help="number of classes in labels/")
    add("--ignore-value", type=_natural, default=255, metavar="N", help="number of unlabelled pixels in labels/ (255)")
    add("--first-label", type=_natural, default=0, metavar="N", help="number of the first class in labels/ (0)")
    add("--depth-scale", type=_above_zero, default=1000.0, metavar="X", help="units of a depth png in one metre (1000)")
    add("--train-frames", type=_positive, metavar="N", help=f"use the first N frames only {_both('train_frames')}")
    add("--val-frames", type=_positive, metavar="N", help=f"use the first N frames only {_both('val_frames')}")
    add("--size", type=_positive, nargs=2, metavar=("H", "W"), help=f"picture size in pixels {_both('size')}")
    add("--max-scale", type=_above_zero, metavar="X", help=f"augmentation: zoom from 1 to X {_both('max_scale')}")
    add("--jitter", type=float, metavar="X", help=f"augmentation: strength of colour changes {_both('jitter')}")


def _add_model(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("network").add_argument
    add("--encoder", metavar="NAME", help=f"resnet18, resnet34, resnet50 or timm:NAME {_both('encoder')}")
    add("--encoder-weights", type=Path, metavar="FILE", help="pretrained encoder, .pth or .safetensors (random)")
    add(
        "--decoder-channels",
        type=_positive,
        nargs="+",
        metavar=("C", "C"),
        help=f"per level {_both('decoder_channels')}",
    )
    add("--sharing", choices=("scalar", "channel", "none"), default="scalar", help="lateral sharing units (scalar)")
    add("--no-up-skip", dest="up_skip", action="store_false", help="leave out the semi-dense up-skips")


def _add_loss(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("loss").add_argument
    weights = f"depth-aware, joint gradient, semantic focal; or 'learned' {_both('loss_weights')}"
    add("--loss-weights", nargs="+", metavar=("W", "W"), help=weights)
    add("--distance", choices=("smooth_l1", "l1", "l2"), default="smooth_l1", help="of depths (smooth_l1)")
    add(
        "--max-depth",
        type=_above_zero,
        default=10.0,
        metavar="M",
        help="metres where attention is 1 and scores end (10)",
    )
    add(
        "--log-offset",
        type=float,
        default=1.0,
        metavar="X",
        help="in lambda's logarithms; 0: the printed form (1)",
    )
    add("--gamma", type=float, default=2.0, metavar="X", help="focal exponent (2)")


def _add_training(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=_positive, metavar="N", help=f"passes over the frames {_both('epochs')}")
    add("--batch-size", type=_positive, metavar="N", help=f"frames in a step, per process {_both('batch_size')}")
    add("--lr", type=_above_zero, metavar="X", help=f"highest learning rate of AdamW, one cycle {_both('lr')}")
    add("--weight-decay", type=float, default=1e-2, metavar="X", help="of AdamW (0.01)")
    add("--precision", choices=("no", "bf16", "fp16"), default="no", help="mixed precision (no)")
    add("--workers", type=_natural, metavar="N", help=f"processes that load data {_both('workers')}")
    add("--seed", type=_natural, default=0, metavar="N", help="of weights, order and augmentation (0)")
    add = parser.add_argument_group("output").add_argument
    add("-o", "--output", type=Path, default=Path("runs/train"), metavar="DIR", help="folder of the run (runs/train)")
    add("--overwrite", action="store_true", help="replace the run that the folder holds")
    add("-h", "--help", action="help", help="show this text and exit")


def command_line() -> str:
    """How the script was called, for the record of the run."""
    return " ".join(sys.argv)
