"""The options of train_nyu.py: names, types and help. What is not given stays out of the namespace."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from depthattn.data.layouts import LAYOUTS
from scripting.command_line import Parser, PathOr, above_zero, natural, positive, yes_or_no
from training.hold_out import WAYS

PROGRAM = "train_nyu.py"

_DESCRIPTION = """\
Train SynergyNet, depth and semantic labels from one image, with the
attention-driven loss.

Without a data option it trains a small network on SyntheticRooms, a demo of
four to five minutes on two CPU cores. With --nyu, --list or --folder the
defaults are those of a full training. Where the two differ, both are given:
(synthetic | full). The script prints all settings at the start.
"""

_EPILOG = """\
examples:
  train_nyu.py                                    the demo
  train_nyu.py --nyu nyu_depth_v2_labeled.mat     NYU Depth v2, official split
  train_nyu.py --list train.txt --val-list test.txt --root data
                                                  BTS-style lists
  train_nyu.py --config data.yaml                 the options from a file
  train_nyu.py --output runs/train --resume       resume a stopped run
  accelerate launch train_nyu.py --nyu nyu_depth_v2_labeled.mat --precision bf16
                                                  multi-GPU
"""


def build_parser(both: Callable[[str], str]) -> Parser:
    """The parser; ``both(name)`` is the text of a default that depends on the data."""
    usage = f"{PROGRAM} [--nyu MAT | --list FILE | --folder DIR ...] [options]"
    parser = Parser(PROGRAM, _DESCRIPTION, _EPILOG, usage, argument_default=argparse.SUPPRESS)
    _add_data(parser, both)
    _add_model(parser, both)
    _add_loss(parser)
    _add_training(parser, both)
    _add_output(parser)
    return parser


def _add_data(parser: Parser, both: Callable[[str], str]) -> None:
    add = parser.add_argument_group("data (SyntheticRooms if none is given)").add_argument
    add("--nyu", type=Path, metavar="MAT", help="NYU Depth v2, the official nyu_depth_v2_labeled.mat")
    add("--splits", type=Path, metavar="MAT", help="splits.mat of NYU (the official split, built in)")
    add("--classes", type=int, choices=(40, 13, 894), help="NYU label set (40)")
    add("--depth", choices=("raw", "inpainted"), help="NYU depth: as measured, with holes, or filled (raw)")
    add("--list", type=Path, metavar="FILE", help="txt or csv: image, depth, and labels or a focal length")
    add("--val-list", type=Path, metavar="FILE", help="the same for validation; else --hold-out")
    add("--root", type=Path, metavar="DIR", help="folder that the lines start from (that of the list)")
    add("--val-root", type=Path, metavar="DIR", help="the same of the validation list (that of --root)")
    add("--folder", type=Path, nargs="+", metavar=("DIR", "DIR"), help="folders with images/, depths/, labels/ ...")
    add("--val-folder", type=Path, nargs="+", metavar=("DIR", "DIR"),
        help="the same for validation; else the folder's own split, or --hold-out")  # fmt: skip
    add("--layout", choices=LAYOUTS, help="layout of the folders (recognised)")
    add("--hold-out", choices=WAYS,
        help="validation frames of data without a split: a tenth in blocks of neighbours or in whole folders, or every "
        "tenth frame (folders if there are several, else blocks)")  # fmt: skip
    add("--num-classes", type=positive, metavar="K", help="number of classes in the labels")
    add("--ignore-value", type=natural, metavar="N", help="value of unlabelled pixels in the labels (255)")
    add("--first-label", type=natural, metavar="N", help="value of the first class in the labels (0)")
    add("--depth-scale", type=above_zero, metavar="X",
        help="stored units per metre (1000 for integers, 1 for floats)")  # fmt: skip
    add("--val-depth-scale", type=above_zero, metavar="X", help="the same of the validation list (--depth-scale)")
    add("--depth-code", choices=("plain", "sunrgbd"), help="16-bit depth as it is, or rotated as in SUN RGB-D")
    add("--train-frames", type=positive, metavar="N", help=f"use the first N frames only {both('train_frames')}")
    add("--val-frames", type=positive, metavar="N", help=f"use the first N frames only {both('val_frames')}")
    add("--size", type=positive, nargs=2, metavar=("H", "W"), help=f"image size in pixels {both('size')}")
    add("--max-scale", type=above_zero, metavar="X", help=f"augmentation: zoom from 1 to X {both('max_scale')}")
    add("--jitter", type=float, metavar="X", help=f"augmentation: strength of colour changes {both('jitter')}")


def _add_model(parser: Parser, both: Callable[[str], str]) -> None:
    add = parser.add_argument_group("network").add_argument
    add("--encoder", metavar="NAME",
        help="efficientnet_lite0-2, resnet18, resnet34, resnet50 or timm:NAME (efficientnet_lite0)")  # fmt: skip
    add("--encoder-weights", type=PathOr("auto", "none"), metavar="FILE",
        help="pretrained encoder, .pth or .safetensors; auto: of the installed package; none: random "
             "(auto; none with --encoder)")  # fmt: skip
    add("--decoder-channels", type=positive, nargs="+", metavar=("C", "C"),
        help=f"channels of each up-projection {both('decoder_channels')}")  # fmt: skip
    add("--sharing", choices=("scalar", "channel", "none"), help="lateral sharing units (scalar)")
    add("--no-up-skip", dest="up_skip", action="store_false", help="leave out the semi-dense up-skips")
    add("--encoder-skips", type=yes_or_no, metavar="YES|NO",
        help=f"add the encoder's maps to the decoders {both('encoder_skips')}")  # fmt: skip
    add("--batch-norm", choices=("local", "sync", "frozen"),
        help="statistics of each process, of all processes (GPUs), or frozen (local)")  # fmt: skip


def _add_loss(parser: Parser) -> None:
    add = parser.add_argument_group("loss").add_argument
    add("--loss-weights", nargs="+", metavar=("W", "W"),
        help="depth-aware, joint gradient, semantic focal; or 'learned' (1 0.05 1)")  # fmt: skip
    add("--semantic-weight", type=float, metavar="X",
        help="weight of the joint gradient loss's term on labels; 1: as published (0)")  # fmt: skip
    add("--distance", choices=("smooth_l1", "l1", "l2"), help="distance of the depth-aware loss (smooth_l1)")
    add("--max-depth", type=above_zero, metavar="M", help="metres where alpha is 1; depth beyond is missing (10)")
    add("--log-offset", type=float, metavar="X", help="metres added in the logarithms of lambda; 0: as published (1)")
    add("--gamma", type=float, metavar="X", help="focal exponent (2)")


def _add_training(parser: Parser, both: Callable[[str], str]) -> None:
    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=positive, metavar="N", help=f"passes over the frames {both('epochs')}")
    add("--batch-size", type=positive, metavar="N", help="frames per batch and process (8)")
    add("--accumulate", type=positive, metavar="N", help="batches per step (1)")
    add("--lr", type=above_zero, metavar="X", help=f"highest learning rate of AdamW, one cycle {both('lr')}")
    add("--encoder-lr", type=above_zero, metavar="X",
        help="highest learning rate of the encoder (that of --lr; with pretrained weights, that of --lr times "
             f"{both('encoder_share')[1:-1]})")  # fmt: skip
    add("--ema", type=float, metavar="D",
        help="decay of an exponential moving average of the weights, which is scored and kept; 0: none "
             f"{both('ema')}")  # fmt: skip
    add("--weight-decay", type=float, metavar="X", help="weight decay of AdamW (0.01)")
    add("--precision", choices=("no", "bf16", "fp16"), help="mixed precision; fp16 needs a GPU (no)")
    add("--compile", action="store_true", help="torch.compile network and loss; worth it on long runs")
    add("--workers", type=natural, metavar="N", help=f"processes that load data {both('workers')}")
    add("--seed", type=natural, metavar="N", help="seed of weights, order and augmentation (0)")


def _add_output(parser: Parser) -> None:
    add = parser.add_argument_group("run").add_argument
    add("--config", type=Path, metavar="YAML", help="file with any of these options; the command line overrides it")
    add("-o", "--output", type=Path, metavar="DIR", help="folder of the run (runs/train)")
    add("--overwrite", action="store_true", help="replace the run in the folder")
    add("--resume", action="store_true", help="resume the run in the folder, with its options")
    add("--checkpoint-every", type=positive, metavar="N", help="steps between checkpoints (one epoch)")
    add("--no-tensorboard", dest="tensorboard", action="store_false", help="leave out the TensorBoard log")
