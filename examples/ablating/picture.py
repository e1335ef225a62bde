"""The effect of each change as a figure."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import median
from typing import Any

from ablating.measures import MEASURES, Measure
from ablating.statistics import CONFIDENCE
from ablating.study import Finding, Study
from depthattn._extras import require
from depthattn.viz.looks import save_in_both_looks

# Okabe and Ito's blue and vermilion, apart for readers with and without colour blindness.
_BETTER, _WORSE, _UNCLEAR = "#0072B2", "#D55E00", "#777777"
_SHOWN = ("rmse", "rmse_far_third", "boundary_f1", "miou")
_ROW = 0.27
# An axis ends at this many times the reach of the middle comparison: one that goes far would hide the others.
_REACH = 10


def draw_effects(study: Study, path: Path) -> None:
    """For each comparison what it changed: mean, confidence interval, every seed; a block of rows for each family.

    Raises:
        ImportError: matplotlib is not installed.
        OSError: the figure cannot be written.
    """
    heights = [len(family.comparisons) for family in study.families]
    figure = require("matplotlib.figure", extra="train", purpose="ablation.py").Figure(
        figsize=(3.1 * len(_SHOWN) + 1.6, _ROW * sum(heights) + 0.55 * len(heights) + 0.9),
        dpi=120,
        layout="constrained",
    )
    figure.suptitle(
        f"Change: mean over the seeds, {CONFIDENCE:.0%} confidence interval, each seed (small). "
        "Colour: clear after Holm's correction. Arrow: beyond the axis",
        fontsize=11,
    )
    measures = [measure for measure in MEASURES if measure.key in _SHOWN]
    limits = {measure.key: _limits(study, measure) for measure in measures}
    grid = figure.subplots(
        len(heights), len(measures), squeeze=False, sharex="col", gridspec_kw={"height_ratios": heights}
    )
    for line, (row, family) in enumerate(zip(grid, study.families, strict=True)):
        for column, (axes, measure) in enumerate(zip(row, measures, strict=True)):
            _frame(axes, [pair.title for pair in family.comparisons], named=column == 0)
            if column == 0:
                axes.set_title(family.title.partition(":")[0], fontsize=9, loc="left", fontweight="bold")
            low, high = limits[measure.key]
            axes.set_xlim(low - 0.05 * (high - low), high + 0.05 * (high - low))
            for place, pair in enumerate(family.comparisons):
                _draw(axes, place, study.finding(pair, measure), measure, limits[measure.key])
            if line == len(heights) - 1:
                axes.set_xlabel(_label(measure), fontsize=9)
    save_in_both_looks(figure, path)


def _frame(axes: Any, titles: list[str], *, named: bool) -> None:
    axes.axvline(0.0, color="black", linewidth=0.8)
    axes.locator_params(axis="x", nbins=5)
    axes.set_yticks(range(len(titles)), titles if named else [], fontsize=9)
    axes.set_ylim(len(titles) - 0.3, -0.6)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.tick_params(left=False, labelsize=8)


def _limits(study: Study, measure: Measure) -> tuple[float, float]:
    """Where the axis of a measure ends, 0 included."""
    found = [study.finding(pair, measure).difference for family in study.families for pair in family.comparisons]
    ends = [(min(one.low, *one.each, 0.0), max(one.high, *one.each, 0.0)) for one in found if math.isfinite(one.low)]
    ends = ends or [(0.0, 0.0)]  # Nothing to draw.
    reach = _REACH * median(max(-low, high) for low, high in ends)
    low, high = max(-reach, min(low for low, _ in ends)), min(reach, max(high for _, high in ends))
    return (low * measure.scale, high * measure.scale) if low < high else (-1.0, 1.0)


def _draw(axes: Any, place: int, finding: Finding, measure: Measure, limits: tuple[float, float]) -> None:
    found = finding.difference
    if not math.isfinite(found.mean):
        return
    colour, marker = _look(finding, measure)
    mean, low, high = (value * measure.scale for value in (found.mean, found.low, found.high))
    if not limits[0] <= mean <= limits[1]:
        right = mean > limits[1]
        axes.plot(limits[right], place, ">" if right else "<", color=colour, markersize=7)
        axes.annotate(
            measure.change(found.mean), (limits[right], place), xytext=(-8 if right else 8, 0),
            textcoords="offset points", ha="right" if right else "left", va="center", fontsize=8,
        )  # fmt: skip
        return
    axes.plot([low, high], [place, place], color=colour, linewidth=2.0, solid_capstyle="butt")
    axes.plot(mean, place, marker, color=colour, markersize=6)
    each = [change * measure.scale for change in found.each]
    axes.plot(each, [place + 0.3] * len(each), ".", color=colour, alpha=0.6, markersize=4)


def _label(measure: Measure) -> str:
    # A difference of percentages is in points, not in percent.
    unit = f" ({measure.unit.replace('%', 'points')})" if measure.unit else ""
    return f"{measure.title}{unit}\nbetter to the {'right' if measure.higher_is_better else 'left'}"


def _look(finding: Finding, measure: Measure) -> tuple[str, str]:
    # A marker for each colour, for a reader who sees none.
    if not finding.is_clear:
        return _UNCLEAR, "o"
    better = (finding.difference.mean > 0) == measure.higher_is_better
    return (_BETTER, "D") if better else (_WORSE, "X")
