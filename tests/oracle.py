"""Every operation once more, pixel by pixel in NumPy and float64: slow, obvious, sharing no code with the library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def depth_aware(
    pred: Array,
    target: Array,
    mask: Array | None = None,
    distance: str = "smooth_l1",
    beta: float = 1.0,
    max_depth: float | None = None,
    log_offset: float = 1.0,
) -> tuple[Array, Array]:
    """Values and validity per pixel, (B,H,W)."""
    valid = np.isfinite(target) & (target > 0)
    if mask is not None:
        valid &= mask
    values = np.zeros(pred.shape)
    for b, i, j in np.ndindex(*pred.shape):
        if not valid[b, i, j]:
            continue
        d, g = float(pred[b, i, j]), float(target[b, i, j])
        m = max_depth if max_depth is not None else float(target[b][valid[b]].max())
        # Laina et al.: a fifth of the largest error.
        knee = beta if distance != "berhu" else float(np.abs(pred[b] - target[b])[valid[b]].max()) / 5
        values[b, i, j] = (min(g / m, 1.0) + _lambda(d, g, log_offset)) * _distance(d - g, distance, knee)
    return values, valid


def _lambda(d: float, g: float, o: float) -> float:
    near = max(d, 0.0)
    a, b = (math.log1p(near), math.log1p(g)) if o == 1 else (_log(near + o), _log(g + o))
    if max(a, b) <= 0:
        return 0.0
    return min(max(1.0 - min(a, b) / max(a, b), 0.0), 1.0)


def _log(x: float) -> float:
    return math.log(x) if x > 0 else -math.inf


def _distance(e: float, distance: str, beta: float) -> float:
    if distance == "l1":
        return abs(e)
    if distance == "l2":
        return e * e
    if distance == "berhu":
        return abs(e) if abs(e) <= beta else (e * e + beta * beta) / (2 * beta)
    return e * e / (2 * beta) if abs(e) < beta else abs(e) - beta / 2


SOBEL_H = ((-1, 0, 1), (-2, 0, 2), (-1, 0, 1))
SOBEL_V = ((-1, -2, -1), (0, 0, 0), (1, 2, 1))


def joint_gradient(
    pred: Array,
    target: Array,
    semantics: Array | None = None,
    mask: Array | None = None,
    ignore_index: int = -100,
) -> tuple[Array, Array, Array, Array]:
    """Depth values and windows, semantic values and windows, each (B,H,W) with a window at its centre."""
    usable = np.isfinite(target) & (target > 0)
    if mask is not None:
        usable &= mask
    depth, semantic = np.zeros(pred.shape), np.zeros(pred.shape)
    depth_windows, semantic_windows = np.zeros(pred.shape, bool), np.zeros(pred.shape, bool)
    batch, height, width = pred.shape
    for b in range(batch):
        for i in range(1, height - 1):
            for j in range(1, width - 1):
                box = (b, slice(i - 1, i + 2), slice(j - 1, j + 2))
                p = pred[box].astype(np.float64)
                if usable[box].all():
                    depth_windows[b, i, j] = True
                    depth[b, i, j] = _sobel(p - target[box])
                if semantics is None:
                    continue
                s = semantics[box]
                if np.issubdtype(s.dtype, np.floating):
                    if np.isfinite(s).all():
                        semantic_windows[b, i, j] = True
                        semantic[b, i, j] = _sobel(p - s)
                elif (s == s[1, 1]).all() and s[1, 1] != ignore_index:
                    semantic_windows[b, i, j] = True
                    semantic[b, i, j] = _sobel(p)
    return depth, depth_windows, semantic, semantic_windows


def _sobel(x: Array) -> float:
    return abs(float((np.array(SOBEL_H) * x).sum())) + abs(float((np.array(SOBEL_V) * x).sum()))


def semantic_focal(
    logits: Array, target: Array, weight: Array | None = None, gamma: float = 2.0, ignore_index: int = -100
) -> tuple[Array, Array, Array]:
    """Values, validity and weights per pixel, shaped like ``target``; logits (B,K,...)."""
    values, valid, weights = np.zeros(target.shape), target != ignore_index, np.zeros(target.shape)
    for index in np.ndindex(*target.shape):
        if not valid[index]:
            continue
        y = int(target[index])
        z = logits[(index[0], slice(None), *index[1:])].astype(np.float64)
        e = [math.exp(v - z.max()) for v in z]
        log_p = float(z[y] - z.max()) - math.log(math.fsum(e))
        q = math.fsum(v for k, v in enumerate(e) if k != y) / math.fsum(e)
        weights[index] = 1.0 if weight is None else float(weight[y])
        values[index] = -weights[index] * q**gamma * log_p
    return values, valid, weights


def lateral_sharing(features: Sequence[Array], gates: Array) -> list[Array]:
    outputs = []
    for t, own in enumerate(features):
        total = own.astype(np.float64)
        for u, other in enumerate(features):
            gate = gates[t, u] if gates.ndim == 2 else gates[t, u].reshape(-1, *[1] * (own.ndim - 2))
            total = total + gate * other
        outputs.append(total)
    return outputs


def resize(x: Array, size: tuple[int, int]) -> Array:
    """Bilinear, align_corners=False: (B,C,h,w) -> (B,C,H,W)."""
    out = np.zeros((*x.shape[:2], *size))
    for i, j in np.ndindex(*size):
        for row, row_weight in _taps(i, x.shape[2], size[0]):
            for column, column_weight in _taps(j, x.shape[3], size[1]):
                out[:, :, i, j] += row_weight * column_weight * x[:, :, row, column]
    return out


def _taps(position: int, source: int, destination: int) -> list[tuple[int, float]]:
    centre = max((position + 0.5) * source / destination - 0.5, 0.0)
    low = min(int(centre), source - 1)
    share = centre - low
    return [(low, 1.0 - share), (min(low + 1, source - 1), share)]


def semi_dense_up_skip(features: Sequence[Array], size: tuple[int, int]) -> Array:
    return np.sum([resize(x.astype(np.float64), size) for x in features], axis=0)


def reduced(values: Array, counts: Array, reduction: str) -> Array:
    """Reduce per-pixel values (B,...) by per-pixel counts (B,...): weights, or validity as 0 and 1."""
    if reduction == "none":
        return values
    if reduction == "sum":
        return np.array(values.sum())
    if reduction == "mean":
        return np.array(values.sum() / counts.sum() if counts.sum() else 0.0)
    axes = tuple(range(1, values.ndim))
    totals, numbers = values.sum(axes), counts.sum(axes, dtype=np.float64)
    return np.divide(totals, numbers, out=np.zeros_like(totals), where=numbers != 0)
