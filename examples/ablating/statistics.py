"""Paired comparisons over seeds, their intervals, and the correction for how many there are.

The seeds are blocks and the variants treatments of a randomised block design: score = seed + variant + rest. A
difference of two variants is paired by seed, and its error is estimated from the rests of all variants, which a few
seeds can do where those of two variants alone could not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from depthattn._extras import require

CONFIDENCE = 0.95
POWER = 0.8


@dataclass(frozen=True)
class Difference:
    """How a score changed from one variant to another.

    Args:
        each: the change in each seed, after minus before.
        mean: of the changes.
        low, high: ends of the 95 % confidence interval of the mean.
        p: of the two-sided t-test that there is no change.
    """

    each: tuple[float, ...]
    mean: float
    low: float
    high: float
    p: float

    def wins(self, higher_is_better: bool) -> int:
        """The number of seeds with a better score after than before."""
        return sum((change > 0) == higher_is_better and change != 0 for change in self.each)


class BlockDesign:
    """Scores of one measure by variant and seed.

    Args:
        scores: of every seed in the same order, by variant; a variant without a score has NaN and is left out.

    Attributes:
        deviation: of the rest, the standard deviation of a single score about seed and variant.
        freedom: degrees of freedom of that estimate.

    Raises:
        ImportError: scipy is not installed.
    """

    def __init__(self, scores: Mapping[str, Sequence[float]]) -> None:
        self._scores = {key: np.asarray(values, dtype=np.float64) for key, values in scores.items()}
        table = np.array([values for values in self._scores.values() if np.isfinite(values).all()])
        variants, seeds = table.shape if table.ndim == 2 else (0, 0)
        self._seeds = seeds
        self.freedom = max(variants - 1, 0) * max(seeds - 1, 0)
        self.deviation = math.sqrt(float(np.square(_rest(table)).sum()) / self.freedom) if self.freedom else math.nan
        self._t: Any = require("scipy.stats", extra="train", purpose="ablation.py").t

    @property
    def error(self) -> float:
        """The standard error of a difference of two variants."""
        return self.deviation * math.sqrt(2 / self._seeds) if self.freedom else math.nan

    def compare(self, reference: str, variant: str) -> Difference:
        """The change from ``reference`` to ``variant``; NaN where one of them has no score."""
        changes = self._scores[variant] - self._scores[reference]
        mean = float(changes.mean())
        half = self._quantile(1 - CONFIDENCE) * self.error
        # Equal scores throughout: no difference, and no error to measure it by.
        statistic = abs(mean) / self.error if self.error else 0.0
        p = float(2 * self._t.sf(statistic, self.freedom)) if self.freedom else math.nan
        return Difference(tuple(changes.tolist()), mean, mean - half, mean + half, p)

    def detectable(self, tests: int) -> float:
        """The smallest change that would be found with 80 % power, at the first of Holm's steps over ``tests``."""
        if not self.freedom:
            return math.nan
        return float((self._quantile((1 - CONFIDENCE) / tests) + self._t.ppf(POWER, self.freedom)) * self.error)

    def _quantile(self, level: float) -> float:
        return float(self._t.ppf(1 - level / 2, self.freedom)) if self.freedom else math.nan


def _rest(table: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return table - table.mean(0, keepdims=True) - table.mean(1, keepdims=True) + table.mean()  # type: ignore[no-any-return]  # NumPy's stubs


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
    """Mean and standard deviation (of a sample: divided by n - 1)."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
