"""Paired comparisons over seeds, their intervals, and the correction for how many there are.

The seeds are blocks and the variants treatments of a randomised block design: score = seed + variant + rest, by least
squares over the trials that there are. A difference of two variants is so compared within seeds, and its error is
estimated from the rests of all variants that are given, which a few seeds can do where those of two alone could not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from depthattn._extras import require

CONFIDENCE = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Difference:
    """How a score changed from one variant to another.

    Args:
        each: the change in each seed that has both, after minus before.
        mean: the estimate; where every seed has every variant, the mean of the changes.
        low, high: ends of its 95 % confidence interval.
        p: of the two-sided t-test that there is no change.
    """

    each: tuple[float, ...]
    mean: float
    low: float
    high: float
    p: float


class BlockDesign:
    """Scores of one measure by variant and seed.

    Args:
        scores: of every seed in the same order, by variant; NaN where there is none.

    Attributes:
        deviation: of the rest, the standard deviation of a single score about seed and variant.
        freedom: degrees of freedom of that estimate.

    Raises:
        ImportError: scipy is not installed.
    """

    def __init__(self, scores: Mapping[str, Sequence[float]]) -> None:
        self._scores = {key: np.asarray(values, dtype=np.float64) for key, values in scores.items()}
        self._columns = {key: column for column, key in enumerate(self._scores)}
        table = np.array(list(self._scores.values()))
        variants, seeds = np.nonzero(np.isfinite(table))
        values = table[variants, seeds]
        # A column for each variant and one for each seed; the inverse leaves out that one of them says nothing new.
        model = np.hstack([np.eye(len(table))[variants], np.eye(table.shape[1])[seeds]])
        self._inverse = np.linalg.pinv(model.T @ model)
        self._effects = self._inverse @ model.T @ values
        rest = values - model @ self._effects
        self.freedom = len(values) - int(np.linalg.matrix_rank(model)) if len(values) else 0
        self.deviation = math.sqrt(float(rest @ rest) / self.freedom) if self.freedom else math.nan
        self._t: Any = require("scipy.stats", extra="train", purpose="ablation.py").t

    def compare(self, reference: str, variant: str) -> Difference:
        """The change from ``reference`` to ``variant``; NaN where one of them has no score."""
        changes = self._scores[variant] - self._scores[reference]
        each = tuple(changes[np.isfinite(changes)].tolist())
        if not each:
            return Difference(each, math.nan, math.nan, math.nan, math.nan)
        if not any(each):
            # No difference, and no error to measure it by: rounding would be divided by rounding.
            return Difference(each, 0.0, 0.0, 0.0, 1.0)
        mean = float(self._effects[self._columns[variant]] - self._effects[self._columns[reference]])
        error = self.error(reference, variant)
        half = self._quantile(1 - CONFIDENCE) * error
        statistic = abs(mean) / error if error else math.inf
        p = float(2 * self._t.sf(statistic, self.freedom)) if self.freedom else math.nan
        return Difference(each, mean, mean - half, mean + half, p)

    def error(self, reference: str, variant: str) -> float:
        """The standard error of the change from ``reference`` to ``variant``."""
        contrast = np.zeros(len(self._effects))
        contrast[self._columns[variant]] += 1.0
        contrast[self._columns[reference]] -= 1.0
        return self.deviation * math.sqrt(max(0.0, float(contrast @ self._inverse @ contrast)))

    def detectable(self, reference: str, variant: str, tests: int) -> float:
        """The smallest change that would be found with 80 % power, at the first of Holm's steps over ``tests``."""
        if not self.freedom:
            return math.nan
        quantiles = self._quantile((1 - CONFIDENCE) / tests) + float(self._t.ppf(POWER, self.freedom))
        return quantiles * self.error(reference, variant)

    def _quantile(self, level: float) -> float:
        return float(self._t.ppf(1 - level / 2, self.freedom)) if self.freedom else math.nan


def holm(p: Sequence[float]) -> list[float]:
    """The p-values after Holm's correction for their number, in the same order; NaN is no test."""
    adjusted = [math.nan] * len(p)
    order = sorted((index for index, value in enumerate(p) if value == value), key=lambda index: p[index])
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample: divided by n - 1) of the numbers among ``values``."""
    known = [value for value in values if value == value]
    if not known:
        return math.nan, math.nan
    mean = math.fsum(known) / len(known)
    squares = math.fsum((value - mean) ** 2 for value in known)
    return mean, math.sqrt(squares / (len(known) - 1)) if len(known) > 1 else math.nan
