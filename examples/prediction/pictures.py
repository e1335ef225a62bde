"""What predict.py leaves of a photo: three files, each complete or not there."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from depthattn.viz import colour_depth, colour_labels, label_palette
from depthattn.viz.colours import DEPTH_COLOURMAP, depth_norm

_MIN_DEPTH = 0.5
_TICKS = (0.5, 1, 2, 3, 5, 10, 20, 40, 80)
_LARGEST_CODE = 65535

# Inches: the picture is as wide as this whatever its pixels, and everything else keeps its size.
_WIDTH = 6.4
_MARGIN = 0.12
_BAR = 0.12
_BELOW_BAR = 0.5
_ROW = 0.21
_COLUMN = 1.28
_DPI = 130


def write_depth(depth: npt.NDArray[np.float32], path: Path) -> None:
    """Metres as whole millimetres in a 16-bit png, as RGB-D datasets store them; 65.535 m is the farthest."""
    millimetres = np.clip(np.rint(depth * 1000.0), 1, _LARGEST_CODE).astype(np.uint16)
    _write(path, lambda file: Image.fromarray(millimetres).save(file, format="png"))


def write_depth_colours(depth: npt.NDArray[np.float32], path: Path, *, max_depth: float) -> None:
    """Depth as colour, with the colour bar below."""
    pixels = colour_depth(depth, min_depth=_MIN_DEPTH, max_depth=max_depth)
    figure, place = _page(pixels, _BAR + _BELOW_BAR)
    norm = depth_norm(_MIN_DEPTH, max_depth)
    bar = figure.colorbar(
        ScalarMappable(norm, DEPTH_COLOURMAP), cax=place(_MARGIN, _BELOW_BAR, _WIDTH, _BAR), orientation="horizontal"
    )
    bar.minorticks_off()
    bar.set_ticks([tick for tick in _TICKS if tick <= max_depth])
    bar.ax.xaxis.set_major_formatter("{x:g}")
    bar.ax.tick_params(labelsize=8, length=2, pad=1)
    bar.set_label("depth in m", fontsize=8, labelpad=1)
    bar.outline.set_linewidth(0.4)
    _write(path, lambda file: figure.savefig(file, format="png"))


def write_labels(labels: npt.NDArray[np.int64], path: Path, *, class_names: Sequence[str]) -> None:
    """Classes as colour, with the names of those that occur below, the largest first."""
    pixels = colour_labels(labels, len(class_names))
    present, counts = np.unique(labels, return_counts=True)
    present = present[np.argsort(-counts, kind="stable")]
    columns = int(_WIDTH // _COLUMN)
    figure, _ = _page(pixels, _ROW * math.ceil(len(present) / columns))
    # A legend fills its columns one after the other; the names are to read along the rows.
    present = np.concatenate([present[column::columns] for column in range(columns)])
    palette = label_palette(len(class_names)) / 255.0
    legend = figure.legend(
        handles=[Patch(color=palette[label], label=class_names[label]) for label in present],
        loc="lower left",
        bbox_to_anchor=(_MARGIN / figure.get_figwidth(), _MARGIN / figure.get_figheight()),
        ncols=columns,
        fontsize=8,
        frameon=False,
        handlelength=1.2,
        handleheight=1.0,
        labelspacing=0.35,
        borderaxespad=0.0,
        borderpad=0.0,
    )
    legend.set_in_layout(False)
    _write(path, lambda file: figure.savefig(file, format="png"))


def _page(pixels: npt.NDArray[np.uint8], below: float) -> tuple[Figure, Callable[[float, float, float, float], Any]]:
    """A figure that holds the picture and ``below`` inches beneath it, and a way to place axes in inches."""
    tall = _WIDTH * pixels.shape[0] / pixels.shape[1]
    width, height = _WIDTH + 2 * _MARGIN, tall + below + 3 * _MARGIN
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")

    def place(left: float, bottom: float, wide: float, high: float) -> Any:
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    axes = place(_MARGIN, height - _MARGIN - tall, _WIDTH, tall)
    axes.imshow(pixels, aspect="auto", interpolation="nearest")
    axes.set_axis_off()
    return figure, place


def _write(path: Path, save: Callable[[BinaryIO], object]) -> None:
    """Make the file in memory, write it beside its place, and move it there."""
    content = io.BytesIO()
    save(content)
    writing = path.with_name(f"{path.name}.writing")
    try:
        writing.write_bytes(content.getbuffer())
        os.replace(writing, path)
    finally:
        writing.unlink(missing_ok=True)
