"""The formula of the depth-aware loss: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from depthattn.ops.masking import absolute, compute_dtype, image_maximum, image_sums, valid_depth


def distance_of(error: Tensor, distance: str, knee: Tensor) -> Tensor:
    """l(d, g) of ``error = d - g``; ``knee``, one number per image, is where it turns."""
    if distance == "l2":
        return error.square()
    size = absolute(error)
    if distance == "l1":
        return size
    if distance == "berhu":
        turn, wrong = torch.where(knee > 0, knee, 1), size > knee
        # An infinite error makes an infinite knee, and is below it.
        far = torch.where(wrong, error, 0)
        return torch.where(wrong, (far / turn * far + turn) / 2, size)
    # Huber's clip: equal to e^2 / (2 beta) inside and |e| - beta / 2 outside, with no square to overflow.
    inner = torch.minimum(size, knee)
    return inner * (size - 0.5 * inner) / knee


def alpha(target: Tensor, maximum: Tensor) -> Tensor:
    """The normalised true depth min(g / m, 1); ``maximum`` is m."""
    return (target / maximum).clamp(max=1)


def lambda_(pred: Tensor, target: Tensor, log_offset: float) -> Tensor:
    """1 - min(a, b) / max(a, b) clamped to [0, 1], a = log(max(d, 0) + o), b = log(g + o); 0 if max(a, b) <= 0."""
    # At d = inf lambda is 1 and its slope 0, which the chain rule would find as 0 times infinity.
    positive = (pred > 0) & (pred < torch.inf)
    a = torch.where(positive, _log(torch.where(positive, pred, 1), log_offset), _log_at(pred, log_offset))
    b = _log(target, log_offset)
    high = torch.maximum(a, b)
    low = torch.minimum(a, b)
    raw = 1 - low / torch.where(high > 0, high, 1)
    # Strict: at the upper end of the clamp the weight is constant, so it must carry no gradient. By the depth, as the
    # ratio of a tiny logarithm rounds to the clamp's end, and where denormals are flushed so may the logarithm.
    inside = torch.minimum(pred.clamp(min=0), target) > 1 - log_offset
    return torch.where(high > 0, torch.where(inside, raw, 1), 0)


def _log(depth: Tensor, offset: float) -> Tensor:
    # With an offset of 1 the sum would round a depth below the precision of 1 away.
    return depth.log1p() if offset == 1 else (depth + offset).log()


def _log_at(pred: Tensor, offset: float) -> Tensor:
    """log(max(d, 0) + o) where d is not a positive number, without a gradient."""
    return torch.where(pred.detach() > 0, torch.inf, _log(torch.zeros_like(pred), offset))


def state(pred: Tensor, target: Tensor, mask: Tensor | None, options: Any) -> Tensor:
    """(2,B): what normalises the target of each image, and the error at which the distance turns."""
    dtype, batch = compute_dtype(pred, target), pred.shape[0]
    maximum = image_maximum(target, mask) if options.max_depth is None else target.new_full((batch,), options.max_depth)
    knee = target.new_full((batch,), options.beta, dtype=dtype)
    if options.distance == "berhu":
        valid = valid_depth(target, mask)
        error = torch.where(valid, pred.detach().to(dtype) - target.to(dtype), 0)
        knee = error.abs().flatten(1).amax(1) / 5 if error.numel() else knee
    return torch.stack((maximum.to(dtype), knee))


def values(pred: Tensor, target: Tensor, mask: Tensor | None, state: Tensor, options: Any) -> tuple[Tensor, Tensor]:
    """(alpha + lambda) l(d, g) at valid pixels, 0 elsewhere, and which are valid; all maps (B,H,W)."""
    dtype = compute_dtype(pred, target)
    maximum, knee = state.to(dtype)[:, :, None, None]
    valid = valid_depth(target, mask)
    g = torch.where(valid, target.to(dtype), 1)
    p = torch.where(valid, pred.to(dtype), g)
    weight = alpha(g, maximum) + lambda_(p, g, options.log_offset)
    if options.detach_weight:
        weight = weight.detach()
    distance = distance_of(p - g, options.distance, knee)
    return torch.where(valid, weight * distance, 0), valid


def terms(pred: Tensor, target: Tensor, mask: Tensor | None, state: Tensor, options: Any) -> tuple[Tensor, Tensor]:
    """Sums and valid pixels of each image, (1,B)."""
    value, valid = values(pred, target, mask, state, options)
    return image_sums(value)[None], valid.sum((1, 2))[None]
