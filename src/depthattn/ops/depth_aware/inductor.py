"""The depth-aware loss through torch.compile: one loop over the pixels gives values, counts and gradient."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.compiled import Compiled
from depthattn.ops.depth_aware import reference
from depthattn.ops.masking import compute_dtype, image_maximum, valid_depth


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, distance: str, beta: float, max_depth: float | None,
    log_offset: float, detach_weight: bool, keep_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    norm = normalisers(pred, target, mask, max_depth)
    gradient = pred.new_empty(pred.shape if keep_gradient else 0)
    if pred.numel() == 0:
        return torch.zeros_like(norm), norm.new_zeros(norm.shape, dtype=torch.int64), norm, gradient
    sums, counts = _pass(
        pred, target, mask, norm, gradient if keep_gradient else None, None,
        distance=distance, beta=beta, log_offset=log_offset, detach_weight=detach_weight,
    )  # fmt: skip
    return sums, counts, norm, gradient


def backward(
    scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, norm: Tensor, distance: str,
    beta: float, log_offset: float, detach_weight: bool,
) -> Tensor:  # fmt: skip
    gradient = pred.new_empty(pred.shape)
    if pred.numel() == 0:
        return gradient
    half = pred.dtype in (torch.float16, torch.bfloat16)
    _pass(
        pred, target, mask, norm, gradient, scale if half else None,
        distance=distance, beta=beta, log_offset=log_offset, detach_weight=detach_weight,
    )  # fmt: skip
    return gradient if half else gradient.mul_(scale.view(-1, 1, 1))


def normalisers(pred: Tensor, target: Tensor, mask: Tensor | None, max_depth: float | None) -> Tensor:
    """``max_depth``, or else the largest valid target, for each image.

    In a graph of its own: where a maximum and the loop that needs it share one, the code that PyTorch 2.6 to 2.8
    makes for CPUs writes past the end of its buffers (pytorch/pytorch#159154).
    """
    dtype = compute_dtype(pred, target)
    if max_depth is not None:
        return pred.new_full((len(pred),), max_depth, dtype=dtype)
    if target.numel() == 0:
        return pred.new_zeros(len(pred), dtype=dtype)
    maxima: Tensor = _maximum(target, mask)
    return maxima.to(dtype)


def _values_and_gradient(
    pred: Tensor, target: Tensor, mask: Tensor | None, norm: Tensor, gradient: Tensor | None, scale: Tensor | None, *,
    distance: str, beta: float, log_offset: float, detach_weight: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Sums and counts per image; writes ``gradient``. docs/derivations/depth_aware.md has the formulas."""
    dtype = norm.dtype
    valid = valid_depth(target, mask)
    values, slopes = values_and_slopes(
        pred.to(dtype), target.to(dtype), valid, norm, distance, beta, log_offset, detach_weight
    )
    sums, counts = values.sum((1, 2)), valid.sum((1, 2))
    if gradient is not None:
        gradient.copy_(slopes if scale is None else torch.where(valid, slopes * scale.view(-1, 1, 1), 0))
    return sums, counts


def values_and_slopes(
    pred: Tensor, target: Tensor, valid: Tensor, norm: Tensor, distance: str, beta: float, log_offset: float,
    detach_weight: bool,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """The value of every pixel and its derivative, 0 at those that are not ``valid``; code to compile."""
    g = torch.where(valid, target, 1)
    p = torch.where(valid, pred, g)
    tiny = torch.finfo(norm.dtype).tiny
    positive = p.clamp(min=0)
    if log_offset == 1:
        a, b = positive.log1p(), g.log1p()
    else:
        a, b = (positive + log_offset).log(), (g + log_offset).log()
    # With both logarithms at least tiny, the ratio gives lambda its two clamps and its zero for max(a, b) <= 0.
    a, b = a.clamp(min=tiny), b.clamp(min=tiny)
    high = torch.maximum(a, b)
    ratio = torch.minimum(a, b) / high
    weight = (1 - ratio) + reference.alpha(g, norm.clamp(min=tiny))
    error = p - g
    distances = reference.distance_of(error, distance, beta)
    if distance == "l2":
        slope = 2 * error
    elif distance == "l1":
        slope = error.sign()
    else:
        slope = error.clamp(-beta, beta) / beta
    slope = slope * weight
    if not detach_weight:
        through = torch.minimum(error.sign(), ratio) / (high * (positive + log_offset))
        slope = slope + torch.where(p > max(1 - log_offset, 0), through, 0) * distances
    return torch.where(valid, weight * distances, 0), torch.where(valid, slope, 0)


_maximum = Compiled(image_maximum)
_pass = Compiled(_values_and_gradient)
