"""The check before the stopwatch: a side whose result is wrong gets no time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks.measure import Outcome

# Relative to the largest entry of what is expected: some roundings of the arithmetic, and one of the storage.
BOUNDS = {torch.float64: 1e-10, torch.float32: 1e-5, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


@dataclass(frozen=True)
class Check:
    """Largest errors of the values and of the gradients, relative to the largest expected entry."""

    value_error: float
    gradient_error: float
    bound: float

    @property
    def passed(self) -> bool:
        return self.value_error <= self.bound and self.gradient_error <= self.bound

    def record(self) -> dict[str, float | bool | None]:
        def finite(x: float) -> float | None:
            return x if math.isfinite(x) else None

        return {
            "value_error": finite(self.value_error),
            "gradient_error": finite(self.gradient_error),
            "bound": self.bound,
            "passed": self.passed,
        }


def relative_error(actual: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Over several tensors, the worst of max |a - w| / max |w|; infinite for a wrong shape, a NaN or a wrong number."""
    if len(actual) != len(wanted):
        return math.inf
    worst = 0.0
    for a, w in zip(actual, wanted, strict=True):
        if a.shape != w.shape:
            return math.inf
        error = float((a.detach().double() - w.detach()).abs().max())
        scale = float(w.detach().abs().max())
        ratio = error / scale if scale > 0 else (0.0 if error == 0 else math.inf)
        worst = max(worst, ratio if math.isfinite(ratio) else math.inf)
    return worst


def check(outcome: Outcome, expected: Outcome, dtype: torch.dtype) -> Check:
    return Check(
        relative_error(outcome.values, expected.values),
        relative_error(outcome.gradients, expected.gradients),
        BOUNDS[dtype],
    )
