"""What the depth metrics share: which pixels count, their error terms, and the scores that the means of these give."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from depthattn.ops import checks
from depthattn.ops.masking import valid_depth

SCORES = ("rel", "sq_rel", "log10", "rms", "rms_log", "silog", "delta1", "delta2", "delta3")
TERMS = 9

_THRESHOLD = 1.25


def check_range(name: str, min_depth: float, max_depth: float | None) -> None:
    checks.check_number(name, "min_depth", min_depth, above=0.0)
    if max_depth is not None:
        checks.check_number(name, "max_depth", max_depth)
        if max_depth <= min_depth:
            raise ValueError(f"{name}: expected max_depth above min_depth {min_depth:g}, got {max_depth:g}")


def counted(target: Tensor, mask: Tensor | None, min_depth: float, max_depth: float | None) -> Tensor:
    valid = valid_depth(target, mask) & (target >= min_depth)
    return valid if max_depth is None else valid & (target <= max_depth)


def error_terms(
    pred: Tensor, target: Tensor, valid: Tensor, min_depth: float, max_depth: float | None
) -> tuple[Tensor, ...]:
    """The ``TERMS`` maps whose means over ``valid`` pixels give every score; zero at all other pixels."""
    d = torch.where(valid, pred.double().clamp(min_depth, max_depth), 1.0)
    g = torch.where(valid, target.double(), 1.0)
    error = d - g
    log_error = d.log() - g.log()
    ratio = torch.maximum(d / g, g / d)
    # An invalid pixel has d = g = 1: no error, but it would count as accurate.
    return (
        error.abs() / g,
        error**2 / g,
        log_error.abs() / math.log(10.0),
        error**2,
        log_error**2,
        log_error,
        *(valid & (ratio < _THRESHOLD**power) for power in (1, 2, 3)),
    )


def scores_of(means: Tensor) -> dict[str, Tensor]:
    """Scores by name from the means of the terms, which lie along the last axis of ``means``."""
    rel, sq_rel, log10, square, square_log, mean_log, delta1, delta2, delta3 = means.unbind(-1)
    # The difference can round to just below zero where all pixels have the same log error.
    variance_log = (square_log - mean_log**2).clamp(min=0.0)
    silog = 100.0 * variance_log.sqrt()
    scores = (rel, sq_rel, log10, square.sqrt(), square_log.sqrt(), silog, delta1, delta2, delta3)
    return dict(zip(SCORES, scores, strict=True))
