"""How far ahead a side is meant to be, and whether it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

Row = dict[str, Any]

# Beyond the inputs; 1 would be the gradients that are returned, and nothing else.
MEMORY = 1.1
# Time per pixel of the smallest image of a series over that of the one nearest to 10 megapixels.
GROWTH, GROWTH_AT = 1.5, 10e6
AT_LEAST = ("speed", "bandwidth")


@dataclass(frozen=True)
class Target:
    """What ``side`` is to reach against ``versus``, forward and backward together.

    ``"speed"``: at least ``wanted`` times as fast; ``"time"``: at most ``wanted`` times its time; ``"memory"``: at
    most ``wanted`` times its peak; ``"bandwidth"``: at least that fraction of it; ``"growth"``: at most ``wanted``
    times its time per pixel.
    """

    side: str
    versus: str
    wanted: float
    quantity: str = "speed"


def judge(targets: Sequence[Target], rows: Sequence[Row]) -> list[dict[str, Any]]:
    by_side = {row["side"]: row for row in rows}
    return [verdict(target, _measured(target, by_side)) for target in targets]


def judge_memory(rows: Sequence[Row], returned: int) -> list[dict[str, Any]]:
    """The peaks of our kernels against the bytes that they return."""
    aim = Target("", "bytes returned", MEMORY, "memory")
    return [verdict(replace(aim, side=row["side"]), row["peak_bytes"]["both"] / returned) for row in _ours(rows)]


def judge_growth(records: Sequence[dict[str, Any]]) -> None:
    """Add to the smallest image of each series how its time per pixel compares with that of a large one."""
    series = [record for record in records if record["group"] == "sizes"]
    for operation in dict.fromkeys(record["operation"] for record in series):
        members = sorted((record for record in series if record["operation"] == operation), key=pixels)
        small, large = members[0], min(members, key=lambda record: abs(pixels(record) - GROWTH_AT))
        if small is large:
            continue
        there = {row["side"]: _both(row) / pixels(large) for row in _ours(large["rows"])}
        aim = Target("", f"{pixels(large) / 1e6:.1f} megapixels", GROWTH, "growth")
        small["targets"] += [
            verdict(replace(aim, side=row["side"]), _both(row) / pixels(small) / there[row["side"]])
            for row in _ours(small["rows"])
            if row["side"] in there
        ]


def pixels(record: dict[str, Any]) -> int:
    """Pixels of a case on depth maps."""
    batch, height, width = record["inputs"]["pred"]
    return int(batch * height * width)


def verdict(target: Target, measured: float | None) -> dict[str, Any]:
    if measured is None:
        met = None
    else:
        met = measured >= target.wanted if target.quantity in AT_LEAST else measured <= target.wanted
    return {**asdict(target), "measured": measured, "met": met}


def _ours(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row["kind"] == "ours" and row["status"] == "ok"]


def _both(row: Row) -> float:
    milliseconds: float = row["time_ms"]["both"]["median"]
    return milliseconds


def _measured(target: Target, by_side: dict[str, Row]) -> float | None:
    side = by_side[target.side]
    if target.quantity == "bandwidth":
        fraction: float | None = side.get("bandwidth_fraction", {}).get("both")
        return fraction
    versus = by_side[target.versus]
    if side["status"] != "ok" or versus["status"] != "ok":
        return None
    if target.quantity == "memory":
        return float(side["peak_bytes"]["both"] / versus["peak_bytes"]["both"])
    return _both(versus) / _both(side) if target.quantity == "speed" else _both(side) / _both(versus)
