"""What the depth metrics share: which pixels count, their error terms, and the scores that the means of these give."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from depthattn.metrics.exact import exact_count, exact_square_sums, exact_sums, means, sum_by_index, to_float32
from depthattn.ops import checks
from depthattn.ops.masking import compute_dtype, valid_depth

SCORES = (
    "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "mae", "irmse", "delta05", "delta1", "delta2", "delta3",
)  # fmt: skip

# Their sums over pixels give all means. "error" is that of no score, but of the bias.
SUMMED = (
    "error", "abs_error", "squared_error", "abs_rel", "sq_rel", "squared_inverse_error", "abs_log", "log",
    "squared_log", "delta05", "delta1", "delta2", "delta3",
)  # fmt: skip

_POWERS = {"delta05": 0.5, "delta1": 1.0, "delta2": 2.0, "delta3": 3.0}
_THRESHOLD = 1.25
_PER_KILOMETRE = 1000.0


def check_range(name: str, min_depth: float, max_depth: float | None) -> None:
    checks.check_number(name, "min_depth", min_depth, above=0.0)
    if max_depth is not None:
        checks.check_number(name, "max_depth", max_depth)
        if max_depth <= min_depth:
            raise ValueError(f"{name}: expected max_depth above min_depth {min_depth:g}, got {max_depth:g}")


def scored_maps(
    name: str, pred: Tensor, target: Tensor, mask: Tensor | None, min_depth: float, max_depth: float | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Check and detach prediction and ground truth as (B,H,W) in the dtype of arithmetic, and find what counts."""
    pred, target, mask = checks.depth_maps(
        name, checks.detached(name, "pred", pred), checks.detached(name, "target", target), mask
    )
    dtype = compute_dtype(pred, target)
    pred, target = pred.to(dtype), target.to(dtype)
    return pred, target, counted(target, mask, min_depth, max_depth)


def counted(target: Tensor, mask: Tensor | None, min_depth: float, max_depth: float | None) -> Tensor:
    valid = valid_depth(target, mask) & (target >= min_depth)
    return valid if max_depth is None else valid & (target <= max_depth)


def error_terms(
    pred: Tensor, target: Tensor, valid: Tensor, min_depth: float, max_depth: float | None
) -> dict[str, Tensor]:
    """Maps by name whose means over the ``valid`` pixels give every score; 0 or False at all other pixels."""
    d = torch.where(valid, pred.clamp(min_depth, max_depth), 1.0)
    # Without a limit, inf is left: no score may take it for a number.
    d = torch.where(d < torch.inf, d, torch.nan)
    g = torch.where(valid, target, 1.0)
    error = d - g
    squared_error = error * error
    log_error = (d / g).log()
    ratio = torch.maximum(d / g, g / d)
    return {
        "error": error,
        "abs_error": error.abs(),
        "squared_error": squared_error,
        "abs_rel": error.abs() / g,
        "sq_rel": squared_error / g,
        "squared_inverse_error": (_PER_KILOMETRE / d - _PER_KILOMETRE / g) ** 2,
        "abs_log": log_error.abs(),
        "log": log_error,
        # An invalid pixel has d = g = 1: no error, but it would count as accurate.
        **{name: valid & (ratio < _THRESHOLD**power) for name, power in _POWERS.items()},
    }


def means_of_images(terms: Mapping[str, Tensor], valid: Tensor) -> dict[str, Tensor]:
    """The means (B,) that :func:`scores_of` takes, over the valid pixels of each image; NaN without any."""
    pixels = valid.flatten(1).sum(1)

    def mean(term: Tensor) -> Tensor:
        return term.flatten(1).sum(1, dtype=log.dtype) / pixels

    log = terms["log"]
    result = {name: mean(term) for name, term in terms.items()}
    spread = torch.where(valid, log - result["log"].view(-1, 1, 1), 0.0)
    return {**result, "squared_log": mean(log * log), "log_variance": mean(spread * spread)}


def exact_term_sums(terms: Mapping[str, Tensor], groups: Tensor | None = None, count: int = 1) -> Tensor:
    """Bins of the sums of :data:`SUMMED` over the pixels of each group, int64 (count, len(SUMMED), BINS)."""
    rows = []
    for name in SUMMED:
        if name == "squared_log":
            rows.append(exact_square_sums(terms["log"], groups, count))
        elif name in _POWERS:
            rows.append(exact_count(count_in_groups(terms[name], groups, count)))
        else:
            rows.append(exact_sums(terms[name], groups, count))
    return torch.stack(rows, dim=1)


def count_in_groups(true: Tensor, groups: Tensor | None = None, count: int = 1) -> Tensor:
    """How many of each group are True, int64 (count,)."""
    if groups is None:
        return true.sum().view(1)
    return sum_by_index(true.flatten().int(), groups.flatten(), count)


def means_of_sums(bins: Tensor, pixels: Tensor) -> dict[str, Tensor]:
    """The means (count,) that :func:`scores_of` takes, from :func:`exact_term_sums` and the pixels of each group."""
    result = dict(zip(SUMMED, means(bins, pixels.unsqueeze(1)).T, strict=True))
    # A small difference of large numbers, and so on the host, where there is float64. It can round to below zero.
    result["log_variance"] = np.maximum(result["squared_log"] - result["log"] ** 2, 0.0)
    return {name: to_float32(values, bins.device) for name, values in result.items()}


def scores_of(means: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Scores by name, in the order of :data:`SCORES`."""
    return {
        "abs_rel": means["abs_rel"],
        "sq_rel": means["sq_rel"],
        "rmse": means["squared_error"].sqrt(),
        "rmse_log": means["squared_log"].sqrt(),
        "log10": means["abs_log"] / math.log(10.0),
        "silog": 100.0 * means["log_variance"].sqrt(),
        "mae": means["abs_error"],
        "irmse": means["squared_inverse_error"].sqrt(),
        **{name: means[name] for name in _POWERS},
    }
