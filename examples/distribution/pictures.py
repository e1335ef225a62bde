"""The cumulative share of depth, and how often each class occurs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from depthattn.viz import DepthHistogram
from depthattn.viz.axes import REFERENCE_COLOUR, SERIES_COLOURS, new_figure, style_axes
from scripting.outputs import save_figure

_MARKED = (0.5, 0.9, 0.99)


def draw_cumulative(histogram: DepthHistogram, path: Path) -> None:
    """Share of pixels nearer than each depth, with the median and the last tenth and hundredth marked."""
    figure = new_figure((5.0, 3.7), "depth_distribution.py")
    axes = figure.add_subplot()
    below = np.concatenate([[0], np.cumsum(histogram.counts)]) / histogram.measured
    axes.plot(histogram.edges, 100 * below, color=SERIES_COLOURS[0], linewidth=1.8)
    for share in _MARKED:
        depth = histogram.quantile(share)
        axes.plot([0, depth, depth], [100 * share, 100 * share, 0], color=REFERENCE_COLOUR, linestyle="--", linewidth=1)
        # Below its line, as the last one would leave the axes; on a plate, as curves may pass behind.
        axes.annotate(
            f"{share:.0%} nearer than {depth:.2f} m",
            (0, 100 * share),
            (4, -11),
            textcoords="offset points",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "pad": 1},
        )
    style_axes(axes, xlabel="true depth in m", ylabel="% of pixels nearer")
    axes.set_xlim(0, histogram.max_depth)
    axes.set_ylim(0, 102)
    save_figure(figure, path)


def draw_classes(counts: Tensor, names: Sequence[str], path: Path) -> None:
    """Share of labelled pixels of each class that occurs, the most frequent first, on a logarithmic axis."""
    order = [int(index) for index in counts.argsort(descending=True, stable=True) if counts[index] > 0]
    share = [100 * float(counts[index] / counts.sum()) for index in order]
    figure = new_figure((5.0, 0.9 + 0.17 * len(order)), "depth_distribution.py")
    axes = figure.add_subplot()
    axes.plot(share, range(len(order)), "o", color=SERIES_COLOURS[0])
    axes.set_yticks(range(len(order)), [names[index] for index in order])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    style_axes(axes, xlabel="% of labelled pixels")
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylim(len(order) - 0.4, -0.6)
    save_figure(figure, path)
