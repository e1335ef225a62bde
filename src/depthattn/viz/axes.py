"""How the charts look: colours, sizes of text, and figures that pyplot does not know of."""

from __future__ import annotations

from typing import Any

from depthattn._extras import require

# Okabe and Ito's colours, in an order that starts with the strongest contrast on white.
SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
REFERENCE_COLOUR = "#555555"
GRID_COLOUR = "#dddddd"

_DPI = 120
# Inches from the axes to the legend below: room for the numbers and the name of the axis.
_LEGEND_DROP = 0.42
# Inches that an entry of a legend takes, by which a narrow chart gets fewer columns.
_LEGEND_ENTRY = 1.2


def new_figure(size: tuple[float, float], purpose: str) -> Any:
    """An empty ``matplotlib.figure.Figure`` of ``size`` inches; ``purpose`` begins the error without matplotlib."""
    figure = require("matplotlib.figure", extra="train", purpose=purpose)
    return figure.Figure(figsize=size, dpi=_DPI, layout="constrained")


def style_axes(axes: Any, *, title: str = "", xlabel: str = "", ylabel: str = "", grid: str = "both") -> None:
    """Texts, a grid along ``grid`` ("x", "y" or "both") behind what is drawn, and no frame at the top and right."""
    axes.set_title(title, fontsize=11, loc="left")
    axes.set_xlabel(xlabel, fontsize=9)
    axes.set_ylabel(ylabel, fontsize=9)
    axes.tick_params(labelsize=9)
    axes.set_axisbelow(True)
    axes.grid(True, axis=grid, color=GRID_COLOUR, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def legend_below(axes: Any) -> None:
    """The legend below the axes, where no curve can run through it; none where nothing has a label."""
    if axes.get_legend_handles_labels()[0]:
        place, figure = axes.get_position(), axes.figure
        drop = _LEGEND_DROP / (place.height * figure.get_figheight())
        columns = max(1, int(place.width * figure.get_figwidth() / _LEGEND_ENTRY))
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -drop), ncols=columns)
