"""The command line of predict.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prediction.photos import find_photos
from scripting.command_line import Parser

PROGRAM = "predict.py"

# The encoders halve the image five times.
_SMALLEST = 32

_DESCRIPTION = """\
Predict depth and semantic labels of photos. For PHOTO.jpg the output folder
gets

  PHOTO_depth.png          depth in millimetres, 16 bit
  PHOTO_depth_colour.png   depth as an image with a colour bar
  PHOTO_labels.png         the classes as an image with their names
  PHOTO_overview.png       photo, depth and classes side by side

Photos that cannot be read or predicted are skipped and listed at the end. The
exit status is then 1.
"""


@dataclass(frozen=True)
class Settings:
    """What to predict, with what, and where to."""

    photos: tuple[Path, ...]
    checkpoint: Path
    output: Path
    size: tuple[int, int] | None
    max_depth: float


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the command line; exits with status 2 and one line where it does not hold together.

    Raises:
        ValueError: a photo or a folder of photos is not there, or two photos would have one name.
    """
    parser = Parser(PROGRAM, _DESCRIPTION)
    add = parser.add_argument
    add("images", nargs="+", type=Path, metavar="IMAGE", help="photos, or folders of photos")
    add("--checkpoint", type=Path, default=Path("runs/train/checkpoints/best"), metavar="DIR",
        help="run, checkpoint or folder of SynergyNet.save_pretrained (runs/train/checkpoints/best)")  # fmt: skip
    add("-o", "--output", type=Path, default=Path("predictions"), metavar="DIR",
        help="folder of the results (predictions)")  # fmt: skip
    add(
        "--size",
        type=int,
        nargs=2,
        metavar=("H", "W"),
        help="image size that the network sees, in pixels (that of its training)",
    )
    add("--max-depth", type=float, default=10.0, metavar="M", help="depth in metres where the colours end (10)")
    arguments = parser.parse_args(argv)
    if arguments.size is not None and min(arguments.size) < _SMALLEST:
        got = " ".join(map(str, arguments.size))
        parser.error(f"--size: expected at least {_SMALLEST} pixels each way, got {got}")
    # The colours begin at half a metre.
    if not 0.5 < arguments.max_depth < float("inf"):
        parser.error(f"--max-depth: expected more than 0.5 metres, got {arguments.max_depth:g}")
    return Settings(
        photos=find_photos(arguments.images),
        checkpoint=arguments.checkpoint,
        output=arguments.output,
        size=None if arguments.size is None else tuple(arguments.size),
        max_depth=arguments.max_depth,
    )
