"""All results together: what each comparison shows of each measure."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ablating.measures import MEASURES, Measure
from ablating.statistics import BlockDesign, Difference, holm
from ablating.variants import Comparison, Family, Variant, variants_of

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Finding:
    """A difference, and its p-value after the correction for all that were looked at."""

    difference: Difference
    adjusted: float

    @property
    def is_clear(self) -> bool:
        return self.adjusted < SIGNIFICANT


class Study:
    """The scores of all variants and seeds, and all comparisons of them.

    Args:
        families: of comparisons.
        seeds: of the trials.
        load: gives the scores of a variant and a seed; None where there are none yet.

    Attributes:
        tests: the number of tests, one for each comparison and measure, which Holm's correction is for.
    """

    def __init__(
        self,
        families: Sequence[Family],
        seeds: Sequence[int],
        load: Callable[[Variant, int], dict[str, float] | None],
    ) -> None:
        self.families = tuple(families)
        self.seeds = tuple(seeds)
        self.variants = variants_of(self.families)
        scores = {variant.key: [load(variant, seed) or {} for seed in seeds] for variant in self.variants}
        self._values = {
            measure.key: {key: [one.get(measure.key, math.nan) for one in each] for key, each in scores.items()}
            for measure in MEASURES
        }
        # One for each family: what varies more from seed to seed than the rest, such as the plain sum of the paper,
        # blurs the comparisons of its own family only.
        self._designs = {
            (family.key, measure.key): BlockDesign(
                {variant.key: self._values[measure.key][variant.key] for variant in family.variants}
            )
            for family in families
            for measure in MEASURES
        }
        pairs = [(family, measure, pair) for family in families for pair in family.comparisons for measure in MEASURES]
        differences = [
            self._designs[family.key, measure.key].compare(pair.reference.key, pair.variant.key)
            for family, measure, pair in pairs
        ]
        adjusted = holm([difference.p for difference in differences])
        self._findings = {
            (measure.key, pair): Finding(difference, p)
            for (_, measure, pair), difference, p in zip(pairs, differences, adjusted, strict=True)
        }
        self.tests = sum(p == p for p in adjusted)

    def scores(self, variant: Variant, measure: Measure) -> list[float]:
        """Of every seed; NaN where there is none."""
        return self._values[measure.key][variant.key]

    def finding(self, pair: Comparison, measure: Measure) -> Finding:
        return self._findings[measure.key, pair]

    def detectable(self, measure: Measure) -> float:
        """The smallest change that the first comparison finds with 80 % power, at the first of Holm's steps."""
        pair = self.families[0].comparisons[0]
        return self._design(measure).detectable(pair.reference.key, pair.variant.key, max(self.tests, 1))

    def freedom(self, measure: Measure) -> int:
        """Degrees of freedom of the first family."""
        return self._design(measure).freedom

    def _design(self, measure: Measure) -> BlockDesign:
        return self._designs[self.families[0].key, measure.key]

    def trials(self) -> dict[int, int]:
        """How many variants have results, by seed."""
        every = [self._values[measure.key] for measure in MEASURES]
        return {
            seed: sum(
                any(values[variant.key][place] == values[variant.key][place] for values in every)
                for variant in self.variants
            )
            for place, seed in enumerate(self.seeds)
        }
