"""Protocol, scores and errors by depth as tables for the terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.table import Table

from scripting.scores import score_text, score_title

_AVERAGES = {
    "per_image": "per image: BTS, AdaBins, ZoeDepth, Depth Anything, UniDepth, the benchmark of KITTI",
    "per_pixel": "per pixel: Eigen et al., Laina et al.",
}


def protocol_table(protocol: Mapping[str, Any]) -> Table:
    table = Table(title="Protocol", title_justify="left", title_style="bold", show_header=False)
    table.add_column(no_wrap=True)
    # A path that does not fit goes on in the next line: cut short, it would be no protocol.
    table.add_column(overflow="fold")
    for name, value in protocol.items():
        if value is not None:
            shown = {True: "yes", False: "no"}[value] if isinstance(value, bool) else value
            shown = "x".join(map(str, shown)) if isinstance(shown, list) else shown
            table.add_row(name.replace("_", " "), str(shown))
    return table


def score_table(facts: Mapping[str, Any], pooling: str) -> Table:
    """Both averages of the scores, the headline first; some have only one."""
    first, second = ("per_image", "per_pixel") if pooling == "images" else ("per_pixel", "per_image")
    caption = "\n".join(_AVERAGES[average] for average in (first, second))
    table = Table(
        title="Scores", title_justify="left", title_style="bold", caption=caption, caption_justify="left",
        caption_style="",
    )  # fmt: skip
    table.add_column("score")
    table.add_column(first.replace("_", " "), justify="right", style="bold")
    table.add_column(second.replace("_", " "), justify="right")
    for name in facts["scores"]:
        cells = (
            score_text(name, facts[average][name]) if name in facts[average] else "" for average in (first, second)
        )
        table.add_row(score_title(name), *cells)
    return table


def class_table(iou: Mapping[str, float]) -> Table:
    table = Table(title="By class", title_justify="left", title_style="bold")
    table.add_column("class")
    table.add_column("IoU", justify="right")
    for name, value in iou.items():
        table.add_row(name, _cell(value, ".2%"))
    return table


def bin_table(edges: Sequence[float], bins: Mapping[str, Sequence[float]]) -> Table:
    table = Table(title="By true depth, per pixel", title_justify="left", title_style="bold")
    for heading in ("range", "pixels", "RMSE", "AbsRel", "bias", "delta1"):
        table.add_column(heading, justify="right", no_wrap=True)
    total = max(1, sum(bins["pixels"]))
    for index, (low, high) in enumerate(pairwise(edges)):
        pixels = bins["pixels"][index]
        rmse, abs_rel, bias, delta1 = (bins[name][index] for name in ("rmse", "abs_rel", "bias", "delta1"))
        numbers = (_cell(rmse, ".3f", " m"), _cell(abs_rel, ".3f"), _cell(bias, "+.3f", " m"), _cell(delta1, ".1%"))
        table.add_row(f"{low:g} - {high:g} m", f"{pixels / total:.1%}", *numbers)
    return table


def _cell(value: float, spec: str, unit: str = "") -> str:
    return "-" if math.isnan(value) else f"{value:{spec}}{unit}"
