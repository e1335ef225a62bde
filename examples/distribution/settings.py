"""The command line of depth_distribution.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from scripting.command_line import Parser, above_zero, positive

PROGRAM = "depth_distribution.py"

_DESCRIPTION = """\
Draw the long tail of a data set: pixels by depth with the farthest share
marked, the cumulative share, and the frequency of the classes where there are
labels.
"""
_EPILOG = """\
examples:
  depth_distribution.py                                   SyntheticRooms
  depth_distribution.py --nyu nyu_depth_v2_labeled.mat    NYU Depth v2
  depth_distribution.py --depths kitti/proj_depth --depth-scale 256 \\
      --max-depth 80                                      KITTI
"""


@dataclass(frozen=True)
class Settings:
    """What to count, and where to draw it."""

    nyu: Path | None
    splits: Path | None
    split: str
    depth: str
    classes: int
    depths: Path | None
    depth_scale: float | None
    depth_code: str | None
    frames: int | None
    max_depth: float
    bins: int
    tail: float
    output: Path
    overwrite: bool


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the command line; exits with status 2 and one line where it does not hold together."""
    parser = Parser(PROGRAM, _DESCRIPTION, _EPILOG)
    add = parser.add_argument
    add("--nyu", type=Path, metavar="MAT", help="NYU Depth v2, the official nyu_depth_v2_labeled.mat")
    add("--splits", type=Path, metavar="MAT", help="splits.mat of NYU (the official split, built in)")
    add("--split", choices=("train", "test", "all"), default="train", help="frames of NYU (train)")
    add("--depth", choices=("raw", "inpainted"), default="raw", help="NYU depth: as measured, or filled (raw)")
    add("--classes", type=int, choices=(40, 13, 894), default=40, help="NYU label set (40)")
    add("--depths", type=Path, metavar="DIR", help="folder of depth files, searched with the folders inside it")
    add("--depth-scale", type=above_zero, metavar="X",
        help="stored units per metre: 256 for KITTI (1000 for integers, 1 for floats)")  # fmt: skip
    add("--depth-code", choices=("plain", "sunrgbd"), help="16-bit depth: plain, or rotated as in SUN RGB-D (plain)")
    add("--frames", type=positive, metavar="N", help="count N frames, evenly spaced (all; of SyntheticRooms 64)")
    add("--max-depth", type=above_zero, default=10.0, metavar="M", help="largest depth that counts, in metres (10)")
    add("--bins", type=positive, default=100, metavar="N", help="number of bins, of equal width (100)")
    add("--tail", type=float, default=0.1, metavar="SHARE", help="share of the pixels that the tail has (0.1)")
    add("-o", "--output", type=Path, default=Path("runs/distribution"), metavar="DIR",
        help="folder of the figures (runs/distribution)")  # fmt: skip
    add("--overwrite", action="store_true", help="replace the figures that the folder holds")
    settings = Settings(**vars(parser.parse_args(argv)))
    if settings.nyu is not None and settings.depths is not None:
        parser.error("expected one data source, got --nyu and --depths")
    if settings.splits is not None and settings.nyu is None:
        parser.error("--splits goes with --nyu, which is not given")
    if not 0 < settings.tail < 1:
        parser.error(f"--tail: expected a share in (0, 1), got {settings.tail:g}")
    return settings
