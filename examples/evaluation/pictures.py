"""A sheet of frames: image, true and predicted depth, and where the prediction is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from matplotlib.figure import Figure
from torch import Tensor

from depthattn.viz import colour_depth, colour_error
from depthattn.viz.axes import colour_bar
from depthattn.viz.colours import DEPTH_COLOURMAP, DEPTH_TICKS, depth_norm, error_colourmap, error_norm
from depthattn.viz.ranges import depth_range, error_top

_TITLES = ("image", "true depth", "predicted depth", "prediction - ground truth")
_CELL, _HEAD, _BARS, _DPI = 2.2, 0.25, 0.6, 130


@dataclass(frozen=True)
class Scored:
    """One frame: image (3, H, W) in [0, 1]; depths (1, H, W) in metres; which pixels count; the error of those."""

    image: Tensor
    target: Tensor
    pred: Tensor
    counted: Tensor
    rmse: float


def draw_errors(frames: Sequence[Scored]) -> Figure:
    """The sheet, its colours on the range of these frames; a pixel that does not count is white in the errors."""
    low, high = depth_range([frame.target for frame in frames], [frame.pred for frame in frames], "draw_errors")
    errors = [torch.where(frame.counted, frame.pred - frame.target, torch.nan) for frame in frames]
    top = error_top(float(torch.cat([error.flatten() for error in errors]).square().nanmean().sqrt()))
    cell_height = _CELL * frames[0].image.shape[-2] / frames[0].image.shape[-1]
    height = _HEAD + len(frames) * cell_height + _BARS
    figure = Figure(figsize=(4 * _CELL, height), dpi=_DPI, facecolor="white")
    for row, (frame, error) in enumerate(zip(frames, errors, strict=True)):
        pixels = (
            frame.image.permute(1, 2, 0).clamp(0, 1).numpy(),
            colour_depth(frame.target, min_depth=low, max_depth=high),
            colour_depth(frame.pred, min_depth=low, max_depth=high),
            colour_error(error, top=top),
        )
        bottom = _BARS + (len(frames) - 1 - row) * cell_height
        for column, content in enumerate(pixels):
            box = (column / 4 + 0.004, bottom / height + 0.004, 0.242, cell_height / height - 0.008)
            axes = figure.add_axes(box)
            axes.imshow(content, aspect="auto", interpolation="nearest")
            axes.set_axis_off()
            if row == 0:
                axes.set_title(_TITLES[column], fontsize=9, pad=4)
        note = f"RMSE {frame.rmse:.2f} m" if isfinite(frame.rmse) else "no ground truth"
        plate = {"facecolor": "white", "edgecolor": "none", "pad": 1.5}
        axes.text(0.98, 0.04, note, fontsize=8, ha="right", transform=axes.transAxes, bbox=plate)
    depth, error_scale = depth_norm(low, high), error_norm(top)
    bars = (
        ((0.3, 0.4), depth, DEPTH_COLOURMAP, DEPTH_TICKS, "depth in m, logarithmic (white: none)"),
        ((0.765, 0.22), error_scale, error_colourmap(), (-top, 0, top), "error in m (white: not counted)"),
    )
    for (left, width), norm, colourmap, ticks, label in bars:
        axes = figure.add_axes((left, 0.43 / height, width, 0.1 / height))
        colour_bar(figure, axes, norm, colourmap, ticks, label)
    return figure
