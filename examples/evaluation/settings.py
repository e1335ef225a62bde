"""The command line of evaluate_nyu.py."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from depthattn.data.depth_files import DEPTH_CODES
from depthattn.data.layouts import LAYOUTS
from depthattn.metrics.alignment import SPACES
from scripting.command_line import Parser, above_zero, natural, positive

PROGRAM = "evaluate_nyu.py"
SYNTHETIC_SIZE = (240, 320)

Crop = tuple[tuple[int, int], tuple[int, int]]

CROPS = ("eigen", "garg", "kitti-eigen", "none")

_SMALLEST = 32
_DESCRIPTION = """\
Score predicted depth, and print the scores with their protocol.

The predictions are those of a checkpoint, or of any other model with
--predictions. The ground truth is NYU Depth v2 (--nyu), a list (--list), a
folder (--folder), or else SyntheticRooms.
"""
_EPILOG = """\
examples:
  evaluate_nyu.py runs/train --nyu nyu_depth_v2_labeled.mat
      crop of Eigen et al., raw depth
  evaluate_nyu.py runs/train --nyu nyu_depth_v2_labeled.mat --crop none \\
      --depth inpainted --flip
  evaluate_nyu.py --predictions depths/ --pred-scale 1000 --list test.txt \\
      --root data
  evaluate_nyu.py --predictions disparities/ --pred-space disparity \\
      --align least-squares --list kitti.txt --root data --crop garg \\
      --max-depth 80
"""


@dataclass(frozen=True)
class Settings:
    """What to score, against what, and how."""

    checkpoint: Path | None
    predictions: Path | None
    pred_scale: float
    pred_space: str
    in_order: bool
    size: tuple[int, int] | None
    flip: bool
    nyu: Path | None
    splits: Path | None
    split: str
    depth: str
    classes: int
    list: Path | None
    root: Path | None
    folder: Path | None
    layout: str | None
    num_classes: int | None
    ignore_value: int | None
    first_label: int | None
    depth_scale: float | None
    depth_code: Literal["plain", "sunrgbd"] | None
    frames: int | None
    crop: str
    spans: Crop | None
    min_depth: float
    max_depth: float
    pooling: str
    align: str | None
    align_space: str
    edges: tuple[float, ...] | None
    output: Path
    overwrite: bool


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the command line; exits with status 2 and one line where it does not hold together."""
    parser = _parser()
    given = vars(parser.parse_args(argv))
    if (given["checkpoint"] is None) == (given["predictions"] is None):
        got = "neither" if given["checkpoint"] is None else "both"
        parser.error(f"expected a CHECKPOINT or --predictions, got {got}")
    sources = [name for name in ("nyu", "list", "folder") if given[name] is not None]
    if len(sources) > 1:
        parser.error(f"expected one data source, got {' and '.join(f'--{name}' for name in sources)}")
    for option, *its in (("splits", "nyu"), ("root", "list"), ("layout", "folder"), ("num_classes", "list", "folder")):
        if given[option] is not None and not set(its) & set(sources):
            wanted = " or ".join(f"--{source}" for source in its)
            parser.error(f"--{option.replace('_', '-')} goes with {wanted}, which is not given")
    if given["predictions"] is not None and (given["flip"] or given["size"] is not None):
        parser.error("--flip and --size go with a CHECKPOINT, got them with --predictions")
    if given["checkpoint"] is not None and (given["pred_space"] != "depth" or given["in_order"]):
        parser.error("--pred-space and --in-order go with --predictions, got them with a CHECKPOINT")
    if given["align"] == "none" and given["align_space"] is not None:
        parser.error("--align-space goes with --align, which is not given")
    if given["size"] is not None and min(given["size"]) < _SMALLEST:
        parser.error(f"--size: expected at least {_SMALLEST} pixels each way, got {' '.join(map(str, given['size']))}")
    if not 0 < given["min_depth"] < given["max_depth"] < float("inf"):
        parser.error(f"expected 0 < --min-depth < --max-depth, got {given['min_depth']:g} and {given['max_depth']:g}")
    given["crop"] = given["crop"] or ("eigen" if sources else "none")
    given["spans"] = _spans(parser, given["crop"])
    given["align_space"] = given["align_space"] or given["pred_space"]
    given["align"] = {"none": None, "median": "median", "least-squares": "least_squares"}[given["align"]]
    for name in ("size", "edges"):
        given[name] = None if given[name] is None else tuple(given[name])
    return Settings(**given)


def _spans(parser: Parser, word: str) -> Crop | None:
    """Those of a crop that is written out."""
    if word in CROPS:
        return None
    found = re.fullmatch(r"(\d+):(\d+),(\d+):(\d+)", word)
    if found is None:
        parser.error(f"--crop: expected {', '.join(CROPS)} or ROW:ROW,COLUMN:COLUMN, got {word!r}")
    top, bottom, left, right = map(int, found.groups())
    return (top, bottom), (left, right)


def _parser() -> Parser:
    usage = f"{PROGRAM} CHECKPOINT [options] | --predictions PATH [options]"
    parser = Parser(PROGRAM, _DESCRIPTION, _EPILOG, usage)
    # fmt: off
    add = parser.add_argument_group("what to score").add_argument
    add("checkpoint", nargs="?", type=Path, metavar="CHECKPOINT",
        help="run of train_nyu.py, checkpoint, folder of SynergyNet.save_pretrained, or .safetensors file")
    add("--predictions", type=Path, metavar="PATH",
        help="predictions of any model: a folder with a png, TIFF, pfm, npy, npz or mat file for each frame, named "
        "after the frame (NYU: after its number); or one file for all, in the order of the frames: npy (N,H,W), or "
        "npz or mat with the key 'pred'")
    add("--in-order", action="store_true", help="pair files and frames in natural order, not by name")
    add("--pred-scale", type=above_zero, default=1.0, metavar="X",
        help="stored units per metre: 1000 for png in millimetres, 256 for KITTI (1)")
    add("--pred-space", choices=SPACES, default="depth", help="what the files hold; disparity is 1 / depth (depth)")
    add("--size", type=int, nargs=2, metavar=("H", "W"),
        help="image size that the network sees, in pixels (that of its training)")
    add("--flip", action="store_true", help="flip TTA: average with the prediction of the flipped image")
    add = parser.add_argument_group("ground truth (SyntheticRooms if none is given)").add_argument
    add("--nyu", type=Path, metavar="MAT", help="NYU Depth v2, the official nyu_depth_v2_labeled.mat")
    add("--splits", type=Path, metavar="MAT", help="splits.mat of NYU (the official split, built in)")
    add("--split", choices=("test", "train", "all"), default="test", help="frames of NYU (test)")
    add("--depth", choices=("raw", "inpainted"), default="raw", help="NYU depth: as measured, or filled (raw)")
    add("--classes", type=int, choices=(40, 13, 894), default=40, help="NYU label set of the network (40)")
    add("--list", type=Path, metavar="TXT", help="list with a line 'image depth [focal]' for each frame, as in BTS")
    add("--root", type=Path, metavar="DIR", help="folder that the lines start from (that of the list)")
    add("--folder", type=Path, metavar="DIR", help="folder of frames; of a split, its validation frames")
    add("--layout", choices=LAYOUTS, help="layout of the folder (recognised)")
    add("--num-classes", type=positive, metavar="K", help="number of classes in label files; needed to score labels")
    add("--ignore-value", type=natural, metavar="N", help="value of unlabelled pixels in label files (255)")
    add("--first-label", type=natural, metavar="N", help="value of the first class in label files (0)")
    add("--depth-scale", type=above_zero, metavar="X",
        help="stored units of true depth per metre (1000 for integers, 1 for floats)")
    add("--depth-code", choices=DEPTH_CODES, help="16-bit depth: plain, or rotated as in SUN RGB-D (plain)")
    add("--frames", type=positive, metavar="N", help="score the first N frames only (all; of SyntheticRooms 64)")
    add = parser.add_argument_group("protocol").add_argument
    add("--crop", metavar="CROP",
        help="NYU: eigen (rows 45:471, columns 41:601 of 480x640); KITTI: garg or kitti-eigen; none; or ROWS,COLUMNS "
        "such as 20:459,24:615 (eigen; for SyntheticRooms none)")
    add("--min-depth", type=above_zero, default=1e-3, metavar="M", help="smallest true depth that counts (0.001)")
    add("--max-depth", type=above_zero, default=10.0, metavar="M", help="largest true depth that counts (10)")
    add("--pooling", choices=("images", "pixels"), default="images",
        help="per-image or per-pixel averaging first; both are printed (images)")
    add("--align", choices=("none", "median", "least-squares"), default="none",
        help="align each prediction to its ground truth by a factor, or by a factor and a shift (none)")
    add("--align-space", choices=SPACES, help="space in which to align (that of the predictions)")
    add("--edges", type=float, nargs="+", metavar="M", help="limits of the ranges of true depth (ten equal ranges)")
    add("-o", "--output", type=Path, default=Path("runs/evaluation"), metavar="DIR",
        help="folder of the results (runs/evaluation)")
    add("--overwrite", action="store_true", help="replace the results that the folder holds")
    # fmt: on
    return parser
