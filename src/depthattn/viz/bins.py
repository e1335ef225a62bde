"""Errors by depth range, above the number of pixels that each of them rests on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from depthattn.viz.axes import REFERENCE_COLOUR, SERIES_COLOURS, new_figure, style_axes

_ERROR_COLOUR, _PIXEL_COLOUR = SERIES_COLOURS[0], SERIES_COLOURS[4]


def plot_depth_bins(
    edges: Sequence[float],
    errors: Sequence[float],
    pixels: Sequence[int],
    *,
    reference: Sequence[float] = (),
    ylabel: str = "RMSE in m",
    label: str = "model",
    reference_label: str = "best constant",
    size: tuple[float, float] = (5.0, 4.6),
) -> Any:
    """Draw one error per range of depth as bars, and the share of pixels of each range below them.

    Args:
        edges: ends of the ranges in metres, in ascending order, one more than there are errors.
        errors: error of each range; NaN where it has no pixel, which leaves a gap.
        pixels: pixels of each range.
        reference: the same errors of another predictor, drawn as steps; none if empty.
        ylabel: name and unit of the errors.
        label: what the bars are, for the legend.
        reference_label: what the steps are, for the legend.
        size: width and height in inches.

    Returns:
        A ``matplotlib.figure.Figure``; nothing is registered with pyplot.

    Raises:
        ValueError: numbers of edges, errors, pixels and reference that do not fit together, or no pixel at all.

    Example:
        >>> from depthattn.viz import plot_depth_bins
        >>> figure = plot_depth_bins([0.0, 1.0, 2.0], [0.1, 0.3], [750, 250])
        >>> [float(bar.get_height()) for bar in figure.axes[1].patches]
        [75.0, 25.0]
    """
    count = len(errors)
    if (len(edges), len(pixels)) != (count + 1, count) or len(reference) not in (0, count):
        raise ValueError(
            f"plot_depth_bins: expected one more edge than errors and as many pixels and references, "
            f"got {len(edges)} edges, {count} errors, {len(pixels)} pixels and {len(reference)} references"
        )
    total = sum(pixels)
    if total <= 0:
        raise ValueError("plot_depth_bins: expected ranges with pixels, got none")
    figure = new_figure(size, "plot_depth_bins")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    middles = [(low + high) / 2 for low, high in pairwise(edges)]
    widths = [0.92 * (high - low) for low, high in pairwise(edges)]
    upper.bar(middles, errors, widths, color=_ERROR_COLOUR, label=label)
    if len(reference):
        upper.stairs(
            reference,
            edges,
            baseline=None,
            color=REFERENCE_COLOUR,
            linestyle="--",
            linewidth=1.4,
            label=reference_label,
        )
    lower.bar(middles, [100.0 * pixel / total for pixel in pixels], widths, color=_PIXEL_COLOUR)
    style_axes(upper, ylabel=ylabel, grid="y")
    style_axes(lower, xlabel="true depth in m", ylabel="% of pixels", grid="y")
    lower.set_xlim(edges[0], edges[-1])
    # Above, as the lower bars leave no room below.
    upper.legend(fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure
