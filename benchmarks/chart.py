"""Bar charts of one run: a panel per case, a bar per side; and the series over image sizes."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import results
from benchmarks.targets import pixels
from depthattn._extras import require
from depthattn.viz.looks import save_in_both_looks

COLOURS = {"ours": "#1f6feb", "reference": "#9ec5fe", "naive": "#8c959f", "compiled": "#bf8700", "peer": "#c4c9d0"}
LEGEND = {
    "ours": "depthattn",
    "reference": "its formula, where there are no kernels",
    "naive": "naive",
    "compiled": "torch.compile of it",
    "peer": "what else there is",
}
LINES = {"cpu": "#1f6feb", "triton": "#0a3069"}
SIZES = "-sizes.png"
INK = "#24292f"
MUTED = "#57606a"
# As wide as a page of the site shows it, so that its text is as large as that of the page.
WIDTH = 6.4
BAR_INCHES = 0.27
PANEL_INCHES = 0.7
DPI = 200


def names_of(result: dict[str, Any]) -> list[str]:
    """The files that :func:`draw` writes, each in a light and a dark look."""
    return list(_parts(result))


def text_of(name: str, where: str) -> str:
    """What is seen on a file of :func:`names_of`, for who cannot see it; its numbers are in the tables of the page."""
    if name.endswith(SIZES):
        return f"Lines of time over image size for each operation on {where}, beside what is linear in pixels"
    return f"Bars of time for each side of each case on {where}"


def draw(result: dict[str, Any], folder: Path) -> list[str]:
    """Write the charts of a run into ``folder`` and return their file names."""
    for name, (paint, cases) in _parts(result).items():
        paint(cases, result, folder / name)
    return names_of(result)


def _parts(result: dict[str, Any]) -> dict[str, tuple[Callable[..., None], list[dict[str, Any]]]]:
    """By file name: what paints it, and of which cases."""
    stem = "-".join(filter(None, ("benchmarks", result["machine"]["slug"], results.busy_of(result))))
    shown = [case for case in result["cases"] if case["dtype"] == "float32" and timed(case)]
    main, sizes = ([case for case in shown if case["group"] == group] for group in ("main", "sizes"))
    parts = {f"{stem}.png": (_bars, main), f"{stem}{SIZES}": (_series, sizes)}
    return {name: (paint, cases) for name, (paint, cases) in parts.items() if cases}


def timed(case: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in case["rows"] if row["status"] == "ok"]


def _figure(height: float, result: dict[str, Any], reading: str) -> Any:
    figure = require("matplotlib.figure", extra="bench", purpose="the chart of the benchmark").Figure(
        figsize=(WIDTH, height), layout="constrained"
    )
    where, day = results.title_of(result), result["date"][:10]
    heading = f"Forward + backward in milliseconds, {reading} is better\n{where}, float32, {day}"
    figure.suptitle(heading, fontsize=10.5, color=INK)
    return figure


def _save(figure: Any, path: Path) -> None:
    save_in_both_looks(figure, path, dpi=DPI, metadata={"Software": None})


def _bars(cases: Sequence[dict[str, Any]], result: dict[str, Any], path: Path) -> None:
    patches = require("matplotlib.patches", extra="bench", purpose="the chart of the benchmark")
    heights = [PANEL_INCHES + BAR_INCHES * len(timed(case)) for case in cases]
    figure = _figure(sum(heights) + 1.3, result, "shorter")
    axes = figure.subplots(len(cases), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis, case in zip(axes.flat, cases, strict=True):
        _panel(axis, case)
    kinds = [kind for kind in COLOURS if any(row["kind"] == kind for case in cases for row in timed(case))]
    handles = [patches.Patch(color=COLOURS[kind], label=LEGEND[kind]) for kind in kinds]
    if any("definition" in row for case in cases for row in timed(case)):
        handles.append(patches.Patch(alpha=0, label="* computes something else, see the page"))
    figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=9, labelcolor=INK)
    _save(figure, path)


def _panel(axis: Any, case: dict[str, Any]) -> None:
    rows = timed(case)
    medians = [row["time_ms"]["both"]["median"] for row in rows]
    # A disturbed run must not squeeze the bars: its whisker is cut off.
    widest = min(max(row["time_ms"]["both"]["p80"] for row in rows), 1.4 * max(medians))
    below = [m - row["time_ms"]["both"]["p20"] for m, row in zip(medians, rows, strict=True)]
    above = [min(row["time_ms"]["both"]["p80"], widest) - m for m, row in zip(medians, rows, strict=True)]
    axis.barh(
        range(len(rows)),
        medians,
        height=0.72,
        color=[COLOURS[row["kind"]] for row in rows],
        xerr=(below, above),
        error_kw={"ecolor": MUTED, "elinewidth": 1, "capsize": 2},
    )
    for place, (median, spread) in enumerate(zip(medians, above, strict=True)):
        number = f"{median:.3g}" if median < 1000 else f"{median:.0f}"
        axis.text(median + spread + 0.012 * widest, place, number, va="center", fontsize=8, color=INK)
    labels = [row["side"] + (" *" if "definition" in row else "") for row in rows]
    axis.set_yticks(range(len(rows)), labels, fontsize=8.5, color=INK)
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(0, 1.12 * widest)
    axis.set_title("\n".join(textwrap.wrap(case["title"], 54)), fontsize=9, loc="left", color=INK)
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.spines["left"].set_color(MUTED)
    axis.tick_params(axis="y", length=0)
    axis.set_xticks([])


def _series(cases: Sequence[dict[str, Any]], result: dict[str, Any], path: Path) -> None:
    operations = list(dict.fromkeys(case["operation"] for case in cases))
    figure = _figure(3.6, result, "lower")
    axes = figure.subplots(1, len(operations), squeeze=False, sharey=True)
    for axis, operation in zip(axes.flat, operations, strict=True):
        curves: dict[str, list[tuple[float, float]]] = {}
        for case in cases:
            if case["operation"] == operation:
                for row in timed(case):
                    point = (pixels(case) / 1e6, row["time_ms"]["both"]["median"])
                    curves.setdefault(row["side"], []).append(point)
        for side, points in curves.items():
            axis.loglog(*zip(*sorted(points), strict=True), marker="o", markersize=4, label=side, color=LINES.get(side))
        _ideal(axis, sorted(next(iter(curves.values()))))
        axis.set_title(f"{operation}_loss, one image", fontsize=9, loc="left", color=INK)
        axis.set_xlabel("megapixels", fontsize=9, color=MUTED)
        axis.grid(True, which="major", color="#d8dee4", linewidth=0.6)
        for scale in (axis.xaxis, axis.yaxis):
            scale.set_major_formatter("{x:g}")
        axis.legend(frameon=False, fontsize=9, labelcolor=INK)
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8, colors=MUTED)
    axes[0, 0].set_ylabel("forward + backward, ms", fontsize=9, color=MUTED)
    _save(figure, path)


def _ideal(axis: Any, points: Sequence[tuple[float, float]]) -> None:
    """A line of slope one through the largest point: what a cost linear in pixels looks like."""
    megapixels, milliseconds = points[-1]
    ends = (points[0][0], megapixels)
    axis.loglog(ends, [milliseconds * x / megapixels for x in ends], "--", color=INK, linewidth=0.8, label="linear")
