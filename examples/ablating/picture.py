"""The effect of each piece as a picture."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ablating.measures import MEASURES, Measure
from ablating.statistics import CONFIDENCE, Comparison
from ablating.table import Outcome, changes
from ablating.variants import LADDER
from depthattn._extras import require
from depthattn.viz.looks import save_in_both_looks

# Okabe and Ito's blue and vermilion, apart for readers with and without colour blindness.
_BETTER, _WORSE, _UNCLEAR = "#0072B2", "#D55E00", "#777777"
_COLUMNS = 3


def draw_effects(outcome: Outcome, seeds: int, path: Path) -> None:
    """For each score, what each piece changed against the variant before it: mean, confidence interval, every seed.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the picture cannot be written.
    """
    rows = math.ceil(len(MEASURES) / _COLUMNS)
    figure = require("matplotlib.figure", extra="train", purpose="ablation.py").Figure(
        figsize=(4.2 * _COLUMNS, 2.5 * rows + 0.8), dpi=120, layout="constrained"
    )
    figure.suptitle(
        f"Change by each piece against the variant before it: mean over {seeds} seeds, {CONFIDENCE:.0%} confidence "
        "interval, each seed (small)",
        fontsize=11,
    )
    for index, measure in enumerate(MEASURES):
        axes = figure.add_subplot(rows, _COLUMNS, index + 1)
        _draw(axes, outcome, measure, named=index % _COLUMNS == 0)
    save_in_both_looks(figure, path)


def _draw(axes: Any, outcome: Outcome, measure: Measure, *, named: bool) -> None:
    axes.axvline(0.0, color="black", linewidth=0.8)
    for place, variant in enumerate(LADDER[1:]):
        comparison = changes(outcome, variant.key, LADDER[place].key, measure)
        if not math.isfinite(comparison.mean):
            continue
        colour, marker = _look(comparison, measure)
        mean, low, high = (value * measure.scale for value in (comparison.mean, comparison.low, comparison.high))
        axes.plot([low, high], [place, place], color=colour, linewidth=2.0, solid_capstyle="butt")
        axes.plot(mean, place, marker, color=colour, markersize=8)
        each = [difference * measure.scale for difference in comparison.differences]
        axes.plot(each, [place + 0.3] * len(each), ".", color=colour, alpha=0.6, markersize=5)
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(range(len(LADDER) - 1), [variant.title for variant in LADDER[1:]] if named else [])
    axes.set_ylim(len(LADDER) - 1.3, -0.6)
    # A difference of percentages is in points, not in percent.
    unit = f" ({measure.unit.replace('%', 'points')})" if measure.unit else ""
    better = "right" if measure.higher_is_better else "left"
    axes.set_title(f"{measure.title}{unit}, better to the {better}", fontsize=10)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False)


def _look(comparison: Comparison, measure: Measure) -> tuple[str, str]:
    # A marker for each colour, for a reader who sees none.
    if comparison.low <= 0.0 <= comparison.high:
        return _UNCLEAR, "o"
    better = (comparison.mean > 0) == measure.higher_is_better
    return (_BETTER, "D") if better else (_WORSE, "X")
