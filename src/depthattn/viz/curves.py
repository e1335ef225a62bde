"""Curves of losses and metrics over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from depthattn._extras import require
from depthattn.viz.axes import REFERENCE_COLOUR, SERIES_COLOURS, legend_below, new_figure, style_axes

_COLUMNS = 2
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Panel:
    """One set of axes.

    Args:
        title: written above it.
        curves: a mapping from keys of the history to legend texts, in drawing order. Missing keys are left out.
        ylabel: unit of the values.
        baselines: a mapping from legend texts to values, drawn as dashed lines.
        log: whether the values have a logarithmic axis.
    """

    title: str
    curves: Mapping[str, str]
    ylabel: str = ""
    baselines: Mapping[str, float] = field(default_factory=dict)
    log: bool = False


def plot_curves(
    history: Sequence[Mapping[str, float]],
    panels: Sequence[Panel],
    *,
    x: str = "epoch",
    size: tuple[float, float] = (5.0, 3.7),
) -> Any:
    """Draw the history of a run, in rows of two panels.

    Curves differ in marker as well as in colour, so that they can be told apart without colour.

    Args:
        history: one mapping per epoch; it holds ``x`` and the keys that the panels name.
        panels: what to draw.
        x: key of the horizontal axis.
        size: width and height of a panel in inches.

    Returns:
        A ``matplotlib.figure.Figure``; nothing is registered with pyplot.

    Raises:
        ValueError: no history, no panel, or an epoch that lacks ``x``.

    Example:
        >>> from depthattn.viz import Panel, plot_curves
        >>> history = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0}]
        >>> figure = plot_curves(history, [Panel("loss", {"loss": "training"})])
        >>> len(figure.axes)
        1
    """
    if not history or not panels:
        raise ValueError(f"plot_curves: expected epochs and panels, got {len(history)} and {len(panels)}")
    for index, row in enumerate(history):
        if x not in row:
            raise ValueError(f"plot_curves: expected {x!r} in every row of history, got {sorted(row)} in row {index}")
    columns, rows = min(len(panels), _COLUMNS), math.ceil(len(panels) / _COLUMNS)
    figure = new_figure((size[0] * columns, size[1] * rows), "plot_curves")
    for index, panel in enumerate(panels):
        _draw(figure.add_subplot(rows, columns, index + 1), history, panel, x)
    return figure


def _draw(axes: Any, history: Sequence[Mapping[str, float]], panel: Panel, x: str) -> None:
    for index, (key, text) in enumerate(panel.curves.items()):
        points = [(row[x], row[key]) for row in history if key in row and math.isfinite(row[key])]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                label=text,
                color=SERIES_COLOURS[index % len(SERIES_COLOURS)],
                marker=_MARKERS[index % len(_MARKERS)],
                markersize=4,
                linewidth=1.6,
            )
    for index, (text, value) in enumerate(panel.baselines.items()):
        if math.isfinite(value):
            style = ("--", ":", "-.")[index % 3]
            axes.axhline(value, label=text, color=REFERENCE_COLOUR, linestyle=style, linewidth=1.2)
    style_axes(axes, title=panel.title, xlabel=x, ylabel=panel.ylabel)
    ticker = require("matplotlib.ticker", extra="train", purpose="plot_curves")
    axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    if panel.log:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.set_minor_formatter(ticker.NullFormatter())
    legend_below(axes)
