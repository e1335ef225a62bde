"""How the charts look: colours, sizes of text, and figures that pyplot does not know of."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from depthattn._extras import require

# Okabe and Ito's colours, in an order that starts with the strongest contrast on white; a red in the place of their
# yellow, which has none.
SERIES_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", "#B40F32")
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


def colour_bar(
    figure: Any, axes: Any, norm: Any, colourmap: Any, ticks: Sequence[float], label: str, *, saturates: str = "both"
) -> None:
    """Fill ``axes`` with a colour bar that lies on its side.

    Args:
        figure: of the axes.
        axes: the place of the bar.
        norm: from values to [0, 1].
        colourmap: of matplotlib.
        ticks: values to name, where the bar has them.
        label: what is shown, with its unit.
        saturates: the ends whose colour whatever lies beyond has too: "both", "max" or "neither"; they are pointed.
    """
    cm = require("matplotlib.cm", extra="train", purpose="depthattn.viz")
    bar = figure.colorbar(
        cm.ScalarMappable(norm, colourmap), cax=axes, orientation="horizontal", extend=saturates, extendfrac=0.02
    )
    bar.minorticks_off()
    bar.set_ticks([tick for tick in ticks if norm.vmin <= tick <= norm.vmax])
    bar.ax.xaxis.set_major_formatter("{x:g}")
    bar.ax.tick_params(labelsize=8, length=2, pad=1)
    bar.set_label(label, fontsize=8, labelpad=1)
    bar.outline.set_linewidth(0.4)


def legend_below(axes: Any) -> None:
    """The legend below the axes, where no curve can run through it; none where nothing has a label."""
    if axes.get_legend_handles_labels()[0]:
        place, figure = axes.get_position(), axes.figure
        drop = _LEGEND_DROP / (place.height * figure.get_figheight())
        columns = max(1, int(place.width * figure.get_figwidth() / _LEGEND_ENTRY))
        axes.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -drop), ncols=columns)
