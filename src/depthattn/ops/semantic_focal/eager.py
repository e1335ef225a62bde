"""The semantic focal loss as plain tensor code, a tile of pixels with all their classes at a time."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from depthattn.ops.semantic_focal import tiled

_LOG2_E = 1 / math.log(2)


def focal_tile(
    logits: Tensor,
    labels: Tensor,
    valid: Tensor,
    own_weight: Tensor | None,
    rows: Tensor,
    gamma: float,
    with_gradient: bool,
) -> Tensor:
    """See :class:`depthattn.ops.semantic_focal.tiled.FocalTile`."""
    y = labels.unsqueeze(1)
    if logits.dtype != rows.dtype or logits.stride(2) != 1:
        logits = rows.copy_(logits)
    torch.sub(logits, logits.amax(1, keepdim=True), out=rows)
    own = rows.gather(1, y)
    # exp2 is the one exponential with the same fast code on every CPU: exp goes through MKL, slow on other makes.
    rows.mul_(_LOG2_E).exp2_()
    rows.scatter_(1, y, torch.zeros_like(own))
    others = rows.sum(1)
    value, slope = tiled.pixel_terms(own.squeeze(1), others, gamma)
    if own_weight is not None:
        value, slope = value * own_weight, slope * own_weight
    if with_gradient:
        slope = slope.masked_fill_(~valid, 0)
        rows.mul_(slope.unsqueeze(1))
        rows.scatter_(1, y, (slope * others).neg_().unsqueeze(1))
        # On the CPU a look is cheaper than the pass that it nearly always saves.
        if logits.device.type != "cpu" or not math.isfinite(others.sum()):
            rows.masked_fill_(~valid.unsqueeze(1), 0)
    return value.masked_fill_(~valid, 0)


forward = partial(tiled.forward, focal_tile)
backward = partial(tiled.backward, focal_tile)
