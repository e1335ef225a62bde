"""The command line of ablation.py and the settings that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from ablating.variants import FAMILIES, Family
from depthattn.models.dilation import OutputStride
from depthattn.models.efficientnet_lite import EFFICIENTNETS
from scripting.command_line import Parser, PathOr, above_zero, natural, positive

PROGRAM = "ablation.py"

# SynergyNet's own limit.
_SMALLEST = 32
_NEEDS = {"splits": "nyu", "val_folder": "folder", "folder": "val_folder"}
_ROOMS = {"train_frames": 640, "val_frames": 500}

_DESCRIPTION = """\
Measure what each component of "Look Deeper into Depth" adds.

The script trains one network after another and compares their scores. The first
has smooth L1 and cross entropy. Then come the depth-aware loss, the joint
gradient loss, the semantic focal loss, lateral sharing units and semi-dense
up-skips, one more at a time. Other families compare weights and terms of the
losses, and one task with two.

Of the encoder only the last blocks are trained. The rest runs once over all
frames and their mirror images, which makes a training cheap. One seed gives all
networks the same frames in the same order, and the same first weights.

The output folder gets a JSON file for each network, table.md and effects.png.
Networks that are there already are not trained again, so an interrupted
ablation resumes. All networks of a seed come before the next seed.
"""

_EPILOG = """\
examples:
  ablation.py                          SyntheticRooms
  ablation.py --seeds 0 1 2 3 4        more seeds: the rest is there already
  ablation.py --nyu nyu_depth_v2_labeled.mat --classes 13
  ablation.py --folder nyu/train --val-folder nyu/test --labels labels13 \\
      --classes 13 --ignore-value 0 --first-label 1
"""


@dataclass(frozen=True)
class Settings:
    """What all trials of an ablation have in common."""

    nyu: Path | None
    splits: Path | None
    folder: Path | None
    val_folder: Path | None
    labels: str
    classes: int
    ignore_value: int
    first_label: int
    hold_out: bool
    train_frames: int | None
    val_frames: int | None
    size: tuple[int, int]
    encoder: str
    encoder_weights: Path | str | None
    output_stride: OutputStride
    trained_blocks: int
    decoder_channels: tuple[int, ...]
    max_depth: float
    epochs: int
    batch_size: int
    lr: float
    encoder_lr: float
    weight_decay: float

    def as_json(self) -> dict[str, Any]:
        """JSON's own types, so that a copy that was read from a file compares equal."""
        return {name: _as_json(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Request:
    """One call: what to train, with which seeds, and where the results go."""

    settings: Settings
    families: tuple[Family, ...]
    seeds: tuple[int, ...]
    report_only: bool
    output: Path
    page: Path | None
    picture: Path | None


def parse(argv: Sequence[str] | None = None) -> Request:
    """Read the command line; exits with status 2 and one line where it does not hold together."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    for name in ("size", "decoder_channels", "seeds"):
        given[name] = tuple(given[name])
    if given["encoder_weights"] == "none":
        given["encoder_weights"] = None
    _check(parser, given)
    if given["nyu"] is None and given["folder"] is None:
        for name, count in _ROOMS.items():
            given[name] = given[name] or count
    asked = {name: given.pop(name) for name in ("seeds", "report_only", "output", "page", "picture")}
    chosen = given.pop("families")
    return Request(Settings(**given), tuple(family for family in FAMILIES if family.key in chosen), **asked)


def _check(parser: Parser, given: dict[str, Any]) -> None:
    if min(given["size"]) < _SMALLEST:
        parser.error(f"--size: expected at least {_SMALLEST}, got {min(given['size'])}")
    for option, other in _NEEDS.items():
        if given[option] is not None and given[other] is None:
            parser.error(f"--{option.replace('_', '-')} goes with --{other.replace('_', '-')}, which is not given")
    if given["nyu"] is not None and given["folder"] is not None:
        parser.error("expected one data source, got --nyu and --folder")
    if len(set(given["seeds"])) < 2:
        parser.error(f"--seeds: expected two or more that differ, got {' '.join(map(str, given['seeds']))}")
    if given["train_frames"] is not None and given["train_frames"] < given["batch_size"]:
        parser.error(
            f"--train-frames: expected at least one batch of {given['batch_size']}, got {given['train_frames']}"
        )


def _parser() -> Parser:
    parser = Parser(PROGRAM, _DESCRIPTION, _EPILOG, usage=f"{PROGRAM} [--nyu MAT | --folder DIR] [options]")
    add = parser.add_argument_group("data (SyntheticRooms if none is given)").add_argument
    add("--nyu", type=Path, metavar="MAT", help="NYU Depth v2, the official nyu_depth_v2_labeled.mat")
    add("--splits", type=Path, metavar="MAT", help="splits.mat of NYU (the official split, built in)")
    add("--folder", type=Path, metavar="DIR", help="folder with images/, depths/ and labels/ to train on")
    add("--val-folder", type=Path, metavar="DIR", help="folder with images/, depths/ and labels/ to score")
    add("--labels", default="labels", metavar="NAME", help="name of the folder of labels in both (labels)")
    add("--classes", type=positive, default=40, metavar="K", help="number of classes; NYU has 40, 13 or 894 (40)")
    add(
        "--ignore-value", type=natural, default=255, metavar="N", help="value of unlabelled pixels in label files (255)"
    )
    add("--first-label", type=natural, default=0, metavar="N", help="value of the first class in label files (0)")
    add("--hold-out", action="store_true",
        help="hold out a tenth of the training frames, in blocks, and score these")  # fmt: skip
    add("--train-frames", type=positive, metavar="N", help=f"frames to train on (all; {_ROOMS['train_frames']} rooms)")
    add("--val-frames", type=positive, metavar="N", help=f"frames to score (all; {_ROOMS['val_frames']} rooms)")
    add("--size", type=positive, nargs=2, metavar=("H", "W"), default=(144, 192), help="image size in pixels (144 192)")

    add = parser.add_argument_group("network").add_argument
    add("--encoder", choices=EFFICIENTNETS, default=EFFICIENTNETS[0],
        help=f"encoder of the network ({EFFICIENTNETS[0]})")  # fmt: skip
    add("--encoder-weights", type=PathOr("auto", "none"), default="auto", metavar="FILE",
        help="pretrained, .pth or .safetensors; auto: of the installed package; none: random (auto)")  # fmt: skip
    add("--output-stride", type=int, choices=get_args(OutputStride), default=32,
        help="stride of the coarsest map of the encoder (32)")  # fmt: skip
    add("--trained-blocks", type=natural, default=1, metavar="N",
        help="number of blocks of the encoder that are trained, from the last (1)")  # fmt: skip
    add("--decoder-channels", type=positive, nargs="+", metavar=("C", "C"), default=(24, 16, 12),
        help="channels of each up-projection (24 16 12)")  # fmt: skip

    add = parser.add_argument_group("training").add_argument
    add("--max-depth", type=above_zero, default=10.0, metavar="M", help="metres where alpha is 1 and scores end (10)")
    add("--epochs", type=positive, default=2, metavar="N", help="passes over the training frames (2)")
    add("--batch-size", type=positive, default=8, metavar="N", help="frames per step (8)")
    add("--lr", type=above_zero, default=1e-2, metavar="X", help="highest learning rate of AdamW, one cycle (0.01)")
    add("--encoder-lr", type=above_zero, default=2e-3, metavar="X", help="highest learning rate of the encoder (0.002)")
    add("--weight-decay", type=float, default=1e-2, metavar="X", help="weight decay of AdamW (0.01)")

    add = parser.add_argument_group("results").add_argument
    keys = tuple(family.key for family in FAMILIES)
    add(
        "--families",
        nargs="+",
        choices=keys,
        default=keys,
        metavar="NAME",
        help=f"families to train: {', '.join(keys)} (all)",
    )
    add("--seeds", type=natural, nargs="+", default=range(3), metavar="N", help="seeds, at least two (0 1 2)")
    add("-o", "--output", type=Path, default=Path("runs/ablation"), metavar="DIR",
        help="folder of the results (runs/ablation)")  # fmt: skip
    add("--report-only", action="store_true", help="train nothing; compare the results in the folder")
    add("--page", type=Path, metavar="MD", help="also write the tables into this page, between its two marker lines")
    add("--picture", type=Path, metavar="PNG", help="also save the figure under this name")
    return parser


def _as_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
