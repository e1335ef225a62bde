"""The semantic focal loss as plain tensor code, a tile of pixels with all their classes at a time."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from depthattn.ops.masking import valid_labels
from depthattn.ops.semantic_focal import tiled

_LOG2_E = 1 / math.log(2)
# Elements per thread: few tiles, because starting the threads of each operator costs more than the caches save, but
# few enough pixels that the operators on one number per pixel do not start them.
_TILE = 1 << 19


def focal_sums(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    gamma: float,
    ignore_index: int,
    rows: Tensor,
    with_gradient: bool,
) -> tiled.Sums:
    """See :class:`depthattn.ops.semantic_focal.tiled.FocalSums`."""
    target = target.long()
    valid = valid_labels(target, logits.shape[1], ignore_index)
    y = torch.where(valid, target, 0).unsqueeze(1)
    if logits.dtype != rows.dtype or logits.stride(2) != 1:
        logits = rows.copy_(logits)
    torch.sub(logits, logits.amax(1, keepdim=True), out=rows)
    own = rows.gather(1, y)
    # exp2 is the one exponential with the same fast code on every CPU: exp goes through MKL, slow on other makes.
    rows.mul_(_LOG2_E).exp2_()
    rows.scatter_(1, y, torch.zeros_like(own))
    others = rows.sum(1)
    value, slope = tiled.pixel_terms(own.squeeze(1), others, gamma)
    counts = valid.sum(1)
    weight_sums = counts.to(rows.dtype)
    if weight is not None:
        own_weight = weight.to(rows.dtype)[y.squeeze(1)].masked_fill_(~valid, 0)
        value, slope, weight_sums = value * own_weight, slope * own_weight, own_weight.sum(1)
    if with_gradient:
        slope = slope.masked_fill_(~valid, 0)
        rows.mul_(slope.unsqueeze(1))
        rows.scatter_(1, y, (slope * others).neg_().unsqueeze(1))
        # On the CPU a look is cheaper than the pass that it nearly always saves.
        if logits.device.type != "cpu" or not math.isfinite(others.sum()):
            rows.masked_fill_(~valid.unsqueeze(1), 0)
    return value.masked_fill_(~valid, 0).sum(1), counts, weight_sums


forward = partial(tiled.forward, focal_sums, _TILE)
backward = partial(tiled.backward, focal_sums, _TILE)
