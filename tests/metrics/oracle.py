"""The formulas of the depth scores, in NumPy on lists of numbers in float64."""

from __future__ import annotations

from typing import Any

import numpy as np

NAMES = (
    "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog", "mae", "irmse", "delta05", "delta1", "delta2", "delta3",
)  # fmt: skip


def kept(target: np.ndarray, low: float, high: float, mask: np.ndarray | None = None) -> np.ndarray:
    """Which pixels count."""
    with np.errstate(invalid="ignore"):
        keep = np.isfinite(target) & (target > 0) & (target >= low) & (target <= high)
    return keep if mask is None else keep & mask


def scores(d: Any, g: Any, low: float = 1e-3, high: float = 10.0) -> dict[str, float]:
    """Of lists of valid pixels."""
    g = np.asarray(g, np.float64)
    d = np.clip(np.asarray(d, np.float64), low, high)
    ratio = np.maximum(d / g, g / d)
    logs = np.log(d) - np.log(g)
    return {
        "abs_rel": np.mean(np.abs(d - g) / g),
        "sq_rel": np.mean((d - g) ** 2 / g),
        "rmse": np.sqrt(np.mean((d - g) ** 2)),
        "rmse_log": np.sqrt(np.mean(logs**2)),
        "log10": np.mean(np.abs(np.log10(d) - np.log10(g))),
        "silog": 100 * np.std(logs),
        "mae": np.mean(np.abs(d - g)),
        "irmse": np.sqrt(np.mean((1000 / d - 1000 / g) ** 2)),
        "delta05": np.mean(ratio < np.sqrt(1.25)),
        "delta1": np.mean(ratio < 1.25),
        "delta2": np.mean(ratio < 1.25**2),
        "delta3": np.mean(ratio < 1.25**3),
    }


def pooled(
    pred: np.ndarray, target: np.ndarray, low: float = 1e-3, high: float = 10.0, mask: np.ndarray | None = None
) -> dict[str, float]:
    """Per-pixel averaging over everything."""
    keep = kept(target, low, high, mask)
    return scores(pred[keep], target[keep], low, high)


def per_image(
    pred: np.ndarray, target: np.ndarray, low: float = 1e-3, high: float = 10.0, mask: np.ndarray | None = None
) -> dict[str, float]:
    """The mean of the scores of the images (first axis) that have a valid pixel."""
    keep = kept(target, low, high, mask)
    images = [scores(p[k], t[k], low, high) for p, t, k in zip(pred, target, keep, strict=True) if k.any()]
    return {name: float(np.mean([image[name] for image in images])) for name in NAMES}


def boundary_f1(pred: np.ndarray, target: np.ndarray) -> float:
    """Of one image (H, W), from the definition of Depth Pro's evaluation: loops over thresholds and directions."""
    valid = kept(target, 0.0, np.inf)
    p, g = 1 / np.maximum(pred.astype(np.float64), 1e-6), 1 / np.where(valid, target, 1.0).astype(np.float64)
    thresholds = np.linspace(1.05, 1.25, 10)
    result = 0.0
    for t in thresholds:
        precision, recall = [], []
        for ahead, behind in (
            (np.s_[:, 1:], np.s_[:, :-1]),
            (np.s_[:, :-1], np.s_[:, 1:]),
            (np.s_[1:, :], np.s_[:-1, :]),
            (np.s_[:-1, :], np.s_[1:, :]),
        ):
            both = valid[ahead] & valid[behind]
            found, true = (p[ahead] / p[behind] > t) & both, (g[ahead] / g[behind] > t) & both
            precision.append((found & true).sum() / max(found.sum(), 1))
            recall.append((found & true).sum() / max(true.sum(), 1))
        a, b = np.mean(precision), np.mean(recall)
        result += t / thresholds.sum() * (2 * a * b / (a + b) if a + b else 0.0)
    return float(result)
