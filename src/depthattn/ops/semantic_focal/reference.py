"""The formula of the semantic focal loss: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from depthattn.ops.masking import compute_dtype, image_sums
from depthattn.ops.semantic_focal.labels import classes_of


def state(logits: Tensor, target: Tensor, weight: Tensor | None, options: Any) -> Tensor:
    """Nothing: a pixel needs to know of no other."""
    return logits.new_empty(0)


def focal(logits: Tensor, y: Tensor, gamma: float) -> Tensor:
    """-(1 - p_y)^gamma log p_y of finite gradient, (B,K,N), (B,1,N) -> (B,1,N)."""
    log_p = logits.log_softmax(1)
    own = log_p.gather(1, y)
    # At a probability of 0 the loss is infinite, and its slope is that of the logarithm.
    possible = own > -torch.inf
    finite = torch.where(possible, own, 0)
    # log(1 - p) from the other classes, or from p where that is small: neither cancels, in value or slope.
    likely = finite > -math.log(2)
    lowest = torch.finfo(log_p.dtype).min
    from_others = log_p.clamp(min=lowest).scatter(1, y, lowest).logsumexp(1, keepdim=True)
    # -log p = log(1 + (1 - p) / p), whose digits the rounding of a p near 1 cannot take away.
    surprise = torch.where(possible, torch.where(likely, softplus(from_others - finite), -finite), -own)
    if gamma == 0:
        return surprise
    from_own = torch.where(likely, -1, finite).exp().neg().log1p()
    log_q = torch.where(likely, from_others, from_own)
    return torch.where(possible, (gamma * log_q).exp(), 1) * surprise


def values(logits: Tensor, target: Tensor, weight: Tensor | None, options: Any) -> tuple[Tensor, Tensor]:
    """-weight[y] (1 - p_y)^gamma log p_y, and how much each pixel counts; both (B,N), and 0 where it does not."""
    labels = classes_of(target, logits.shape[1], options.ignore_index)
    valid = labels >= 0
    y = torch.where(valid, labels, 0)
    z = torch.where(valid.unsqueeze(1), logits.to(compute_dtype(logits)), 0)
    value = focal(z, y.unsqueeze(1), options.gamma).squeeze(1)
    if weight is None:
        return torch.where(valid, value, 0), valid
    own_weight = weight.to(value.dtype)[y]
    counts = torch.where(valid, own_weight, 0) if options.normalize_by == "weight" else valid
    return torch.where(valid, own_weight * value, 0), counts


def terms(logits: Tensor, target: Tensor, weight: Tensor | None, state: Tensor, options: Any) -> tuple[Tensor, Tensor]:
    """Sums of each image and what they are divided by, (1,B)."""
    value, counts = values(logits, target, weight, options)
    return image_sums(value)[None], counts.sum(1)[None]
