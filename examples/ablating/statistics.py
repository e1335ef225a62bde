"""Paired comparisons over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from depthattn._extras import require

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Comparison:
    """How a score changed from one variant to another, seed by seed.

    Args:
        differences: of each seed, after minus before.
        mean: of the differences.
        low, high: ends of the 95 % confidence interval of the mean, of Student's t.
        p: of the two-sided paired t-test that there is no difference.
    """

    differences: tuple[float, ...]
    mean: float
    low: float
    high: float
    p: float

    def wins(self, higher_is_better: bool) -> int:
        """The number of seeds with a better score after than before."""
        return sum((difference > 0) == higher_is_better and difference != 0 for difference in self.differences)


def compare(before: Sequence[float], after: Sequence[float]) -> Comparison:
    """Compare two variants by the scores of the same seeds in the same order; NaN where one has no score.

    Raises:
        ImportError: scipy is not installed.
    """
    differences = np.subtract(after, before)
    as_given = tuple(differences.tolist())
    if not differences.any():
        # The test would divide zero by zero.
        return Comparison(as_given, 0.0, 0.0, 0.0, 1.0)
    stats = require("scipy.stats", extra="train", purpose="ablation.py")
    test = stats.ttest_rel(after, before)
    low, high = test.confidence_interval(CONFIDENCE)
    return Comparison(as_given, float(differences.mean()), float(low), float(high), float(test.pvalue))


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation (of a sample: divided by n - 1)."""
    mean = math.fsum(values) / len(values)
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
