"""The command line of ablation.py and the settings that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from scripting.command_line import Parser

PROGRAM = "ablation.py"

# SynergyNet's own limit.
_SMALLEST = 32
_WEIGHT_METHODS = ("median_frequency", "inverse", "effective_number", "none")

_DESCRIPTION = """\
What does each piece of "Look Deeper into Depth" add? Trains one network after
another, each with one piece more than the last: smooth L1 and cross entropy,
+ depth-aware loss, + joint gradient loss, + semantic focal loss, + lateral
sharing units, + semi-dense up-skips; every one of them with every seed. One
seed gives all of them the same frames in the same order, and the same first
weights. Then it compares them.

The output folder gets a JSON file for each network, table.md and effects.png.
What is in it already is not done again: an interrupted ablation goes on where
it was.
"""

_EPILOG = """\
examples:
  ablation.py                         SyntheticRooms, half an hour or two on CPUs
  ablation.py --seeds 5 6 7 8 9 10    more seeds: the rest is there already
  ablation.py --nyu nyu_depth_v2_labeled.mat --encoder resnet50 \\
      --encoder-weights resnet50.pth  NYU Depth v2
"""


@dataclass(frozen=True)
class Defaults:
    """What depends on whether the data are synthetic."""

    encoder: str
    decoder_channels: tuple[int, ...]
    size: tuple[int, int]
    train_frames: int | None
    val_frames: int | None
    max_scale: float
    jitter: float
    epochs: int
    batch_size: int
    lr: float
    workers: int
    output: Path


SYNTHETIC = Defaults(
    encoder="compact",
    decoder_channels=(48, 24, 16),
    size=(48, 64),
    train_frames=640,
    val_frames=500,
    max_scale=1.2,
    jitter=0.2,
    epochs=12,
    batch_size=8,
    lr=5e-3,
    workers=0,
    output=Path("runs/ablation"),
)
NYU = Defaults(
    encoder="resnet18",
    decoder_channels=(256, 128, 64, 32),
    size=(228, 304),
    train_frames=None,
    val_frames=None,
    max_scale=1.5,
    jitter=0.4,
    epochs=40,
    batch_size=8,
    lr=3e-4,
    workers=4,
    output=Path("runs/ablation-nyu"),
)


@dataclass(frozen=True)
class Settings:
    """What all trials of an ablation have in common."""

    nyu: Path | None
    splits: Path | None
    classes: int
    train_frames: int | None
    val_frames: int | None
    size: tuple[int, int]
    max_scale: float
    jitter: float
    encoder: str
    encoder_weights: Path | None
    decoder_channels: tuple[int, ...]
    loss_weights: tuple[float, float, float]
    max_depth: float
    detach_weight: bool
    gamma: float
    class_weights: str
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    workers: int

    def as_json(self) -> dict[str, Any]:
        """JSON's own types, so that a copy that was read from a file compares equal."""
        return {name: _as_json(value) for name, value in asdict(self).items()}


@dataclass(frozen=True)
class Request:
    """One call: what to train, with which seeds, and where the results go."""

    settings: Settings
    seeds: tuple[int, ...]
    output: Path
    page: Path | None
    picture: Path | None


def parse(argv: Sequence[str] | None = None) -> Request:
    """Read the command line; exits with status 2 and one line where it does not hold together."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    defaults = SYNTHETIC if given["nyu"] is None else NYU
    for field in fields(Defaults):
        if given[field.name] is None:
            given[field.name] = getattr(defaults, field.name)
    for name in ("size", "decoder_channels", "loss_weights", "seeds"):
        given[name] = tuple(given[name])
    _check(parser, given)
    asked = {name: given.pop(name) for name in ("seeds", "output", "page", "picture")}
    return Request(Settings(**given), **asked)


def _check(parser: Parser, given: dict[str, Any]) -> None:
    limits = {
        "size": _SMALLEST, "train_frames": 1, "val_frames": 1, "decoder_channels": 1, "epochs": 1, "batch_size": 1,
        "workers": 0, "seeds": 0, "max_scale": 1, "jitter": 0, "loss_weights": 0, "gamma": 0, "weight_decay": 0,
    }  # fmt: skip
    for name, least in limits.items():
        value = given[name]
        for number in value if isinstance(value, tuple) else (value,):
            if number is not None and not least <= number < float("inf"):
                parser.error(f"--{name.replace('_', '-')}: expected at least {least}, got {number}")
    for name in ("lr", "max_depth"):
        if not 0 < given[name] < float("inf"):
            parser.error(f"--{name.replace('_', '-')}: expected more than 0, got {given[name]}")
    if given["splits"] is not None and given["nyu"] is None:
        parser.error("--splits goes with --nyu, which is not given")
    if len(set(given["seeds"])) < 2:
        parser.error(f"--seeds: expected two or more that differ, got {' '.join(map(str, given['seeds']))}")
    if given["train_frames"] is not None and given["train_frames"] < given["batch_size"]:
        parser.error(
            f"--train-frames: expected at least one batch of {given['batch_size']}, got {given['train_frames']}"
        )


def _parser() -> Parser:
    parser = Parser(PROGRAM, _DESCRIPTION, _EPILOG, usage=f"{PROGRAM} [--nyu MAT] [options]")
    add = parser.add_argument_group("data (SyntheticRooms without --nyu)").add_argument
    add("--nyu", type=Path, metavar="MAT", help="NYU Depth v2, the official nyu_depth_v2_labeled.mat")
    add("--splits", type=Path, metavar="MAT", help="splits.mat of NYU (the official split, built in)")
    add("--classes", type=int, choices=(40, 13, 894), default=40, help="NYU label set (40)")
    add("--train-frames", type=int, metavar="N", help=f"frames to train on {_both('train_frames')}")
    add("--val-frames", type=int, metavar="N", help=f"frames to score {_both('val_frames')}")
    add("--size", type=int, nargs=2, metavar=("H", "W"), help=f"picture size in pixels {_both('size')}")
    add("--max-scale", type=float, metavar="X", help=f"augmentation: zoom from 1 to X {_both('max_scale')}")
    add("--jitter", type=float, metavar="X", help=f"augmentation: strength of colour changes {_both('jitter')}")
    add("--workers", type=int, metavar="N", help=f"processes that load data {_both('workers')}")

    add = parser.add_argument_group("network").add_argument
    add("--encoder", metavar="NAME",
        help=f"compact, resnet18, 34, 50, efficientnet_lite0, 1, 2 or timm:NAME {_both('encoder')}")  # fmt: skip
    add("--encoder-weights", type=Path, metavar="FILE",
        help="pretrained encoder, .pth or .safetensors, or 'auto' for the installed one (random)")  # fmt: skip
    add("--decoder-channels", type=int, nargs="+", metavar=("C", "C"), help=f"per level {_both('decoder_channels')}")

    add = parser.add_argument_group("pieces").add_argument
    # The attention of indoor pixels is a third on average. The Sobel kernels gain 8: 0.0625 is 0.5 without it, and
    # 0.5 keeps the depth flat in as few steps as these.
    weights = (4.0, 0.0625, 1.0)
    add("--loss-weights", type=float, nargs=3, metavar=("DA", "JG", "SEMF"), default=weights,
        help=f"of the three losses; the plain ones they take the place of have 1 ({_text(weights)})")  # fmt: skip
    add("--max-depth", type=float, default=10.0, metavar="M", help="metres where attention is 1 and scores end (10)")
    add("--detach-weight", action="store_true", help="no gradient through the attention of the depth-aware loss")
    add("--gamma", type=float, default=2.0, metavar="X", help="focal exponent (2)")
    add("--class-weights", choices=_WEIGHT_METHODS, default="effective_number",
        help="of the focal loss, from the pixels of each class in the training frames (effective_number)")  # fmt: skip

    add = parser.add_argument_group("training").add_argument
    add("--epochs", type=int, metavar="N", help=f"passes over the training frames {_both('epochs')}")
    add("--batch-size", type=int, metavar="N", help=f"frames in a step {_both('batch_size')}")
    add("--lr", type=float, metavar="X", help=f"highest learning rate of AdamW, one cycle {_both('lr')}")
    add("--weight-decay", type=float, default=1e-2, metavar="X", help="of AdamW (0.01)")

    add = parser.add_argument_group("results").add_argument
    add("--seeds", type=int, nargs="+", default=range(5), metavar="N", help="at least two (0 1 2 3 4)")
    add("-o", "--output", type=Path, metavar="DIR", help=f"folder of the results {_both('output')}")
    add("--page", type=Path, metavar="MD", help="also put the table between its two marker lines in this file")
    add("--picture", type=Path, metavar="PNG", help="also save the picture here")
    return parser


def _both(name: str) -> str:
    return f"({_text(getattr(SYNTHETIC, name))} | {_text(getattr(NYU, name))})"


def _text(value: Any) -> str:
    if value is None:
        return "all"
    return " ".join(f"{part:g}" for part in value) if isinstance(value, tuple) else str(value)


def _as_json(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value
