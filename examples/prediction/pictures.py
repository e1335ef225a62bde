"""What predict.py leaves of a photo: pictures that carry its name, each complete or not there."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from depthattn.data import DataError
from depthattn.data.images import DECODE_ERRORS
from depthattn.viz import colour_depth, colour_labels, label_palette
from depthattn.viz.axes import colour_bar
from depthattn.viz.colours import DEPTH_COLOURMAP, DEPTH_TICKS, depth_norm
from scripting.outputs import save_figure, write_whole

_MIN_DEPTH = 0.5
_LARGEST_CODE = 65535

# Inches: the image is as wide as this whatever its pixels, and everything else keeps its size.
_WIDTH = 6.4
_MARGIN = 0.12
_BAR = 0.12
_BELOW_BAR = 0.5
_ROW = 0.21
_COLUMN = 1.28
_DPI = 130
# An image taller than this is drawn narrower: matplotlib draws no more than 65535 pixels.
_TALLEST = 40.0
_PANEL = 4.2
_TITLE = 0.25

# Every image carries it, so that none is ever taken for a photo.
_MARK = ("Software", "depthattn predict.py")


def picture_paths(name: str, folder: Path, *, labelled: bool) -> dict[str, Path]:
    """Where the pictures of a photo go, by kind.

    Args:
        name: begins the names of the files.
        folder: where they go.
        labelled: whether there are classes.

    Raises:
        DataError: a file of that name is there that this script did not write.
    """
    kinds = ("depth", "depth_colour", *(["labels"] if labelled else []), "overview")
    paths = {kind: folder / f"{name}_{kind}.png" for kind in kinds}
    for path in paths.values():
        try:
            path.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            # The name of a photo fits into its file system, and what is added to it may not.
            raise DataError(f"{path}: expected a name for a file, got: {error.strerror}") from error
        if not is_ours(path):
            raise DataError(f"{path}: expected a free name, got a file that predict.py did not write")
    return paths


def write_pictures(
    paths: Mapping[str, Path],
    photo: npt.NDArray[np.uint8],
    depth: npt.NDArray[np.float32],
    labels: npt.NDArray[np.int64],
    *,
    class_names: Sequence[str],
    max_depth: float,
) -> None:
    """Write all pictures of a photo; without classes, none of labels.

    Args:
        paths: of :func:`picture_paths`.
        photo: RGB pixels (H, W, 3).
        depth: metres (H, W).
        labels: classes (H, W).
        class_names: a name for each class.
        max_depth: metres of the brightest colour.
    """
    panels = {"photo": photo, "depth": colour_depth(depth, min_depth=_MIN_DEPTH, max_depth=max_depth)}
    write_depth(depth, paths["depth"])
    write_depth_colours(panels["depth"], paths["depth_colour"], max_depth=max_depth)
    if class_names:
        panels["labels"] = colour_labels(labels, len(class_names))
        write_labels(panels["labels"], labels, paths["labels"], class_names=class_names)
    write_overview(panels, labels, paths["overview"], class_names=class_names, max_depth=max_depth)


def is_ours(path: Path) -> bool:
    """Whether a file is an image that :func:`write_pictures` wrote."""
    try:
        with Image.open(path, formats=("PNG",)) as image:
            return image.info.get(_MARK[0]) == _MARK[1]
    except (*DECODE_ERRORS, Image.DecompressionBombError):
        return False


def write_depth(depth: npt.NDArray[np.float32], path: Path) -> None:
    """Metres as whole millimetres in a 16-bit png, as RGB-D datasets store them; 65.535 m is the farthest."""
    millimetres = np.clip(np.rint(depth * 1000.0), 1, _LARGEST_CODE).astype(np.uint16)
    mark = PngInfo()
    mark.add_text(*_MARK)
    write_whole(path, lambda file: Image.fromarray(millimetres).save(file, format="png", pnginfo=mark))


def write_depth_colours(pixels: npt.NDArray[np.uint8], path: Path, *, max_depth: float) -> None:
    """Depth as colour, with the colour bar below."""
    figure, place = _page(pixels, _BAR + _BELOW_BAR)
    _depth_bar(figure, place(_MARGIN, _BELOW_BAR, figure.get_figwidth() - 2 * _MARGIN, _BAR), max_depth)
    _save(figure, path)


def write_labels(
    pixels: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], path: Path, *, class_names: Sequence[str]
) -> None:
    """Classes as colour, with the names of those that occur below, the largest first."""
    columns = int(_WIDTH // _COLUMN)
    rows = math.ceil(len(np.unique(labels)) / columns)
    figure, _ = _page(pixels, _ROW * rows)
    _legend(figure, labels, class_names, columns, left=_MARGIN, bottom=_MARGIN)
    _save(figure, path)


def write_overview(
    panels: Mapping[str, npt.NDArray[np.uint8]],
    labels: npt.NDArray[np.int64],
    path: Path,
    *,
    class_names: Sequence[str],
    max_depth: float,
) -> None:
    """The ``panels`` side by side, each under its name, the colours of depth and classes explained below."""
    height, width, _ = next(iter(panels.values())).shape
    tall = _PANEL * height / width
    wide = _PANEL * min(1.0, _TALLEST / tall)
    tall = min(tall, _TALLEST)
    step = max(wide, 2.5) + _MARGIN
    columns = max(1, int(step // _COLUMN))
    rows = math.ceil(len(np.unique(labels)) / columns) if class_names else 0
    below = max(_BAR + _BELOW_BAR, _ROW * rows)
    size = step * len(panels) + _MARGIN, tall + below + _TITLE + 3 * _MARGIN
    figure = Figure(figsize=size, dpi=_DPI, facecolor="white")
    for index, (name, pixels) in enumerate(panels.items()):
        left = _MARGIN + index * step
        axes = figure.add_axes((left / size[0], (below + 2 * _MARGIN) / size[1], wide / size[0], tall / size[1]))
        axes.imshow(pixels, aspect="auto", interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(name, fontsize=10, loc="left", pad=3)
        if name == "depth":
            bottom = (below + _MARGIN - _BAR) / size[1]
            bar = figure.add_axes((left / size[0], bottom, (step - 2 * _MARGIN) / size[0], _BAR / size[1]))
            _depth_bar(figure, bar, max_depth)
        elif name == "labels":
            _legend(figure, labels, class_names, columns, left=left, bottom=_MARGIN + below - _ROW * rows)
    _save(figure, path)


def _depth_bar(figure: Figure, axes: Any, max_depth: float) -> None:
    norm = depth_norm(_MIN_DEPTH, max_depth)
    colour_bar(figure, axes, norm, DEPTH_COLOURMAP, DEPTH_TICKS, "depth in m, logarithmic")


def _legend(
    figure: Figure,
    labels: npt.NDArray[np.int64],
    class_names: Sequence[str],
    columns: int,
    *,
    left: float,
    bottom: float,
) -> None:
    """The names of the classes that occur, the largest first, from ``left`` and ``bottom`` inches on."""
    present, counts = np.unique(labels, return_counts=True)
    present = present[np.argsort(-counts, kind="stable")]
    # A legend fills its columns one after the other; the names are to read along the rows.
    present = np.concatenate([present[column::columns] for column in range(columns)])
    palette = label_palette(len(class_names)) / 255.0
    legend = figure.legend(
        handles=[Patch(color=palette[label], label=class_names[label].replace("$", r"\$")) for label in present],
        loc="lower left",
        bbox_to_anchor=(left / figure.get_figwidth(), bottom / figure.get_figheight()),
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


def _page(pixels: npt.NDArray[np.uint8], below: float) -> tuple[Figure, Callable[[float, float, float, float], Any]]:
    """A figure that holds the image and ``below`` inches beneath it, and a way to place axes in inches."""
    tall = _WIDTH * pixels.shape[0] / pixels.shape[1]
    wide = _WIDTH * min(1.0, _TALLEST / tall)
    tall = min(tall, _TALLEST)
    width, height = _WIDTH + 2 * _MARGIN, tall + below + 3 * _MARGIN
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")

    def place(left: float, bottom: float, wide: float, high: float) -> Any:
        return figure.add_axes((left / width, bottom / height, wide / width, high / height))

    axes = place(_MARGIN, height - _MARGIN - tall, wide, tall)
    axes.imshow(pixels, aspect="auto", interpolation="nearest")
    axes.set_axis_off()
    return figure, place


def _save(figure: Figure, path: Path) -> None:
    save_figure(figure, path, metadata=dict([_MARK]))
