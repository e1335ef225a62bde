"""Ranges of colours that follow the data: a few extreme pixels would leave the rest one colour."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np

from depthattn.viz.colours import DEPTH_TICKS, ArrayLike, plane

_PERCENTILES = (1.0, 99.0)
_NARROWEST = 1.5


def depth_range(true: Iterable[ArrayLike], predicted: Iterable[ArrayLike], function: str) -> tuple[float, float]:
    """Metres at the two ends of the colours of some depth maps.

    Args:
        true: maps of true depth, 0 = missing.
        predicted: maps of predicted depth, which count where there is no true depth at all.
        function: begins the error of a map whose shape does not fit.

    Returns:
        The 1st and the 99th percentile of the depths, apart by half at least.
    """
    for maps in (true, predicted):
        depth = np.concatenate([plane(part, function, "depth").ravel() for part in maps])
        known = depth[np.isfinite(depth) & (depth > 0)]
        if known.size:
            low, high = np.percentile(known, _PERCENTILES).tolist()
            return low, max(high, _NARROWEST * low)
    return DEPTH_TICKS[0], DEPTH_TICKS[-1]


def error_top(rmse: float) -> float:
    """Metres of the brightest errors of depth: twice the RMSE, to one digit; 1 without one."""
    return float(f"{2 * rmse:.1g}") if math.isfinite(rmse) and rmse > 0 else 1.0
