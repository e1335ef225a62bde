"""The formula of the depth-aware loss: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from depthattn.ops.masking import compute_dtype, valid_depth


def distance_of(error: Tensor, distance: str, beta: float) -> Tensor:
    """l(d, g) of ``error = d - g``."""
    if distance == "l2":
        return error.square()
    size = error.abs()
    if distance == "l1":
        return size
    # Huber's clip: equal to e^2 / (2 beta) inside and |e| - beta / 2 outside, with no square to overflow.
    inner = size.clamp(max=beta)
    return inner * (size - 0.5 * inner) / beta


def alpha(target: Tensor, norm: Tensor) -> Tensor:
    """The normalised true depth min(g / m, 1); ``norm`` holds m, one per image."""
    return (target / norm.view(-1, 1, 1)).clamp(max=1)


def lambda_(pred: Tensor, target: Tensor, log_offset: float) -> Tensor:
    """1 - min(a, b) / max(a, b) clamped to [0, 1], a = log(max(d, 0) + o), b = log(g + o); 0 if max(a, b) <= 0."""
    positive = pred > 0
    floor = math.log(log_offset) if log_offset > 0 else -math.inf
    a = torch.where(positive, _log(torch.where(positive, pred, 1), log_offset), floor)
    b = _log(target, log_offset)
    high = torch.maximum(a, b)
    low = torch.minimum(a, b)
    raw = 1 - low / torch.where(high > 0, high, 1)
    # Strict: at the upper end of the clamp the weight is constant, so it must carry no gradient. By the logarithm, as
    # the ratio of a tiny one rounds to the clamp's end.
    return torch.where(high > 0, torch.where(low > 0, raw, 1), 0)


def _log(depth: Tensor, offset: float) -> Tensor:
    # With an offset of 1 the sum would round a depth below the precision of 1 away.
    return depth.log1p() if offset == 1 else (depth + offset).log()


def per_pixel(
    pred: Tensor,
    target: Tensor,
    mask: Tensor | None,
    norm: Tensor,
    distance: str,
    beta: float,
    log_offset: float,
    detach_weight: bool,
) -> Tensor:
    """(alpha + lambda) l(d, g) at valid pixels, 0 elsewhere; all maps (B,H,W)."""
    dtype = compute_dtype(pred, target)
    valid = valid_depth(target, mask)
    g = torch.where(valid, target.to(dtype), 1)
    p = torch.where(valid, pred.to(dtype), g)
    weight = alpha(g, norm.to(dtype)) + lambda_(p, g, log_offset)
    if detach_weight:
        weight = weight.detach()
    return torch.where(valid, weight * distance_of(p - g, distance, beta), 0)
