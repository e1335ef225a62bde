"""The contact sheet: what the network saw, what it said, and where the loss looked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depthattn._extras import require
from depthattn.viz import ranges
from depthattn.viz.attention import attention_maps
from depthattn.viz.axes import colour_bar
from depthattn.viz.colours import (
    ATTENTION_COLOURMAP,
    DEPTH_COLOURMAP,
    DEPTH_TICKS,
    attention_norm,
    colour_attention,
    colour_depth,
    colour_labels,
    depth_norm,
    plane,
)
from depthattn.viz.palette import IGNORED_LABEL, label_palette

_TITLES = ("image", "true depth", "predicted depth", "true labels", "predicted labels", "attention α + λ")
# The sum reaches 2, but only at a far pixel that is predicted as near: up to 2, all else would be dark.
_ATTENTION_TOP = 1.0

# The page in inches; a cell's height follows from the frames' own aspect.
_CELL = 1.9
_GAP = 0.07
_MARGIN = 0.15
_TITLE = 0.3
_CAPTION = 0.2
_COLOUR_BARS = 0.58
_LEGEND_ROW = 0.19
_LEGEND_COLUMNS = 7
_DPI = 120


@dataclass(frozen=True)
class Frame:
    """One row of a contact sheet.

    Args:
        image: RGB in [0, 1], shape (3, H, W).
        depth: true depth in metres, 0 = missing, shape (1, H, W) or (H, W).
        predicted_depth: metres, same shape.
        labels: true classes, shape (H, W).
        predicted_labels: classes, shape (H, W).
    """

    image: torch.Tensor
    depth: torch.Tensor
    predicted_depth: torch.Tensor
    labels: torch.Tensor
    predicted_labels: torch.Tensor


def contact_sheet(
    frames: Sequence[Frame],
    *,
    class_names: Sequence[str],
    depth_range: tuple[float, float] | None = None,
    max_depth: float = 10.0,
    log_offset: float = 1.0,
    ignore_index: int = -100,
) -> Any:
    """Draw frames as rows: image, true and predicted depth, true and predicted labels, alpha + lambda.

    Below the rows are the colour bars and the names of the classes that occur. Pixels without depth are
    white, pixels without a label grey.

    Args:
        frames: the rows, all of one size.
        class_names: one name per class; their number is the number of classes.
        depth_range: metres at the two ends of the depth colours, the same in all rows; None takes the 1st and the 99th
            percentile of the true depth of all frames (of the predicted depth where there is no ground truth), apart by
            half at least.
        max_depth: metres at which alpha is 1.
        log_offset: offset inside lambda's logarithms, as in :class:`depthattn.DepthAwareLoss`.
        ignore_index: label of the pixels with no class.

    Returns:
        A ``matplotlib.figure.Figure``; nothing is registered with pyplot.

    Raises:
        ValueError: no frames, frames of different sizes, labels with no name, or a ``depth_range`` that is not
            0 < low < high.

    Example:
        >>> import torch
        >>> from depthattn.viz import Frame, contact_sheet
        >>> depth = torch.full((1, 24, 32), 3.0)
        >>> labels = torch.zeros(24, 32, dtype=torch.long)
        >>> frame = Frame(torch.rand(3, 24, 32), depth, depth, labels, labels)
        >>> figure = contact_sheet([frame], class_names=["wall"])
        >>> len(figure.axes)  # six images and two colour bars
        8
    """
    if not frames:
        raise ValueError("contact_sheet: expected at least one frame, got none")
    sizes = {tuple(frame.image.shape[-2:]) for frame in frames}
    if len(sizes) > 1:
        raise ValueError(f"contact_sheet: expected frames of one size, got {sorted(sizes)}")
    height, width = sizes.pop()
    low, high = depth_range or ranges.depth_range(
        [frame.depth for frame in frames], [frame.predicted_depth for frame in frames], "contact_sheet"
    )
    names = {int(label): class_names[int(label)] for label in _occurring(frames, ignore_index, len(class_names))}
    page = _Page(
        len(frames), cell_height=_CELL * height / width, legend_rows=math.ceil((len(names) + 1) / _LEGEND_COLUMNS)
    )

    for row, frame in enumerate(frames):
        total = attention_maps(frame.predicted_depth, frame.depth, max_depth=max_depth, log_offset=log_offset).total
        pictures = (
            _image_pixels(frame.image),
            colour_depth(frame.depth, min_depth=low, max_depth=high),
            colour_depth(frame.predicted_depth, min_depth=low, max_depth=high),
            colour_labels(frame.labels, len(class_names), ignore_index=ignore_index),
            colour_labels(frame.predicted_labels, len(class_names), ignore_index=ignore_index),
            colour_attention(total, top=_ATTENTION_TOP),
        )
        captions = ("", "", _depth_caption(frame), "", _label_caption(frame, ignore_index), "")
        for column, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
            axes = page.cell(row, column)
            axes.imshow(picture, aspect="auto", interpolation="nearest")
            axes.set_xlabel(caption, fontsize=8, labelpad=2)
            if row == 0:
                axes.set_title(_TITLES[column], fontsize=11, pad=4)

    page.colour_bar(
        1, 2, depth_norm(low, high), DEPTH_COLOURMAP, "both", "depth in m, logarithmic (white: none)", DEPTH_TICKS
    )
    page.colour_bar(
        5, 5, attention_norm(_ATTENTION_TOP), ATTENTION_COLOURMAP, "max", "weight in the loss (no unit)", (0, 0.5, 1)
    )
    page.legend(names, label_palette(len(class_names)))
    return page.figure


class _Page:
    """Axes placed in inches, so that cells keep their size whatever the number of rows or classes."""

    def __init__(self, rows: int, cell_height: float, legend_rows: int) -> None:
        self.cell_height = cell_height
        self.width = 2 * _MARGIN + len(_TITLES) * _CELL + (len(_TITLES) - 1) * _GAP
        below = _COLOUR_BARS + legend_rows * _LEGEND_ROW + _MARGIN
        self.height = _MARGIN + _TITLE + rows * (cell_height + _CAPTION) + below
        self.rows_bottom = below
        self.rows = rows
        self.figure = require("matplotlib.figure", extra="train", purpose="contact_sheet").Figure(
            figsize=(self.width, self.height), dpi=_DPI, facecolor="white"
        )

    def axes(self, left: float, bottom: float, width: float, height: float) -> Any:
        return self.figure.add_axes((left / self.width, bottom / self.height, width / self.width, height / self.height))

    def left(self, column: int) -> float:
        return _MARGIN + column * (_CELL + _GAP)

    def cell(self, row: int, column: int) -> Any:
        bottom = self.rows_bottom + (self.rows - 1 - row) * (self.cell_height + _CAPTION) + _CAPTION
        axes = self.axes(self.left(column), bottom, _CELL, self.cell_height)
        axes.set(xticks=[], yticks=[])
        for spine in axes.spines.values():
            spine.set(color="#999999", linewidth=0.6)
        return axes

    def colour_bar(
        self, first: int, last: int, norm: Any, colourmap: str, saturates: str, label: str, ticks: Sequence[float]
    ) -> None:
        width = self.left(last) + _CELL - self.left(first)
        axes = self.axes(self.left(first), self.rows_bottom - 0.15, width, 0.1)
        colour_bar(self.figure, axes, norm, colourmap, ticks, label, saturates=saturates)

    def legend(self, names: dict[int, str], palette: npt.NDArray[np.uint8]) -> None:
        patches = require("matplotlib.patches", extra="train", purpose="contact_sheet")
        colours = {name: palette[label] / 255.0 for label, name in names.items()}
        colours["(no label)"] = np.array(IGNORED_LABEL) / 255.0
        self.figure.legend(
            handles=[patches.Patch(color=colour, label=name) for name, colour in colours.items()],
            loc="lower center",
            bbox_to_anchor=(0.5, 0.3 * _MARGIN / self.height),
            ncols=_LEGEND_COLUMNS,
            fontsize=8,
            frameon=False,
            handlelength=1.2,
            handleheight=1.0,
            labelspacing=0.35,
        )


def _image_pixels(image: torch.Tensor) -> npt.NDArray[np.uint8]:
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"contact_sheet: expected image of shape (3, H, W), got {tuple(image.shape)}")
    levels = image.detach().float().clamp(0, 1).mul(255).round().to(torch.uint8)
    pixels: npt.NDArray[np.uint8] = levels.permute(1, 2, 0).cpu().numpy()
    return pixels


def _occurring(frames: Sequence[Frame], ignore_index: int, num_classes: int) -> npt.NDArray[np.int64]:
    labels = [plane(maps, "contact_sheet", "labels").ravel() for f in frames for maps in (f.labels, f.predicted_labels)]
    present: npt.NDArray[np.int64] = np.unique(np.concatenate(labels)).astype(np.int64)
    present = present[present != ignore_index]
    if present.size and not 0 <= present[0] <= present[-1] < num_classes:
        raise ValueError(
            f"contact_sheet: expected labels from 0 to {num_classes - 1} or {ignore_index}, "
            f"got {present[0]} to {present[-1]}"
        )
    return present


def _depth_caption(frame: Frame) -> str:
    target = plane(frame.depth, "contact_sheet", "depth")
    predicted = plane(frame.predicted_depth, "contact_sheet", "predicted_depth")
    valid = np.isfinite(target) & (target > 0)
    if not valid.any():
        return "no true depth"
    return f"RMSE {np.sqrt(np.mean((predicted[valid] - target[valid]) ** 2)):.2f} m"


def _label_caption(frame: Frame, ignore_index: int) -> str:
    target = plane(frame.labels, "contact_sheet", "labels")
    predicted = plane(frame.predicted_labels, "contact_sheet", "predicted_labels")
    used = target != ignore_index
    if not used.any():
        return "no true labels"
    return f"{np.mean(predicted[used] == target[used]):.0%} of pixels right"
