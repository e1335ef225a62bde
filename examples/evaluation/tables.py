"""Protocol, scores and errors by depth as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from rich.table import Table

_UNITS = {"sq_rel": " m", "rmse": " m"}
_SHARES = ("pixel_accuracy", "mean_accuracy", "miou")


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


def score_table(scores: Mapping[str, float]) -> Table:
    table = Table(title="Scores", title_justify="left", title_style="bold")
    table.add_column("score")
    table.add_column("value", justify="right")
    for name, value in scores.items():
        share = name.startswith("delta") or name in _SHARES
        table.add_row(name, f"{value:.2%}" if share else f"{value:.4f}{_UNITS.get(name, '')}")
    return table


def bin_table(edges: Sequence[float], bins: Mapping[str, Sequence[float]]) -> Table:
    table = Table(title="By true depth", title_justify="left", title_style="bold")
    for heading in ("range", "pixels", "rmse", "abs_rel", "bias", "delta1"):
        table.add_column(heading, justify="right", no_wrap=True)
    total = max(1, sum(bins["pixels"]))
    for index, (low, high) in enumerate(pairwise(edges)):
        pixels = bins["pixels"][index]
        rmse, abs_rel, bias, delta1 = (bins[name][index] for name in ("rmse", "abs_rel", "bias", "delta1"))
        numbers = (f"{rmse:.3f} m", f"{abs_rel:.3f}", f"{bias:+.3f} m", f"{delta1:.1%}") if pixels else ("-",) * 4
        table.add_row(f"{low:g} - {high:g} m", f"{pixels / total:.1%}", *numbers)
    return table
