"""The formula of the semantic focal loss: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.masking import compute_dtype, valid_labels


def per_pixel(logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, ignore_index: int) -> Tensor:
    """-weight[y] (1 - p_y)^gamma log p_y at labelled pixels, 0 elsewhere: (B,K,N), (B,N) -> (B,N)."""
    valid = valid_labels(target, logits.shape[1], ignore_index)
    z = torch.where(valid.unsqueeze(1), logits.to(compute_dtype(logits)), 0)
    y = torch.where(valid, target, 0).long()
    log_p = z.log_softmax(1)
    value = -log_p.gather(1, y.unsqueeze(1)).squeeze(1)
    if gamma != 0:
        # log(1 - p_y) from the other classes: finite with finite slope however saturated the logits are.
        lowest = torch.finfo(z.dtype).min
        log_q = log_p.clamp(min=lowest).scatter(1, y.unsqueeze(1), lowest).logsumexp(1)
        value = (gamma * log_q).exp() * value
    if weight is not None:
        value = value * weight.to(value.dtype)[y]
    return torch.where(valid, value, 0)
