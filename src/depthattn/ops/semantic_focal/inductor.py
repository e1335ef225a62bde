"""The semantic focal loss through torch.compile, a tile of pixels with all their classes at a time."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from depthattn.ops.compiled import Compiled
from depthattn.ops.masking import compute_dtype
from depthattn.ops.semantic_focal import tiled


def _tile(
    logits: Tensor,
    labels: Tensor,
    classes: Tensor,
    own_weight: Tensor | None,
    rows: Tensor | None,
    *,
    gamma: float,
    with_gradient: bool,
) -> Tensor:
    """The values of a tile; its gradient goes into ``rows``, or into the place of the logits where that is None."""
    z = logits.to(compute_dtype(logits))
    valid = labels >= 0
    # Comparing beats addressing: these selections vectorise along with the sums and the exponentials.
    is_own = classes == labels.unsqueeze(1)
    largest = z.amax(1, keepdim=True)
    own = torch.where(is_own, z, 0).sum(1) - largest.squeeze(1)
    others = torch.where(is_own, 0, (z - largest).exp()).sum(1)
    value, slope = tiled.pixel_terms(own, others, gamma)
    if own_weight is not None:
        value, slope = value * own_weight, slope * own_weight
    if with_gradient:
        # As another expression: exponentials that occur twice would be stored, which costs more than taking them again.
        total = own.exp() + others
        softmax = (z - largest - total.log().unsqueeze(1)).exp()
        gradient = torch.where(is_own, -(slope * others).unsqueeze(1), softmax * (slope * total).unsqueeze(1))
        (logits if rows is None else rows).copy_(torch.where(valid.unsqueeze(1), gradient, 0))
    return torch.where(valid, value, 0)


_compiled = Compiled(_tile)


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
    narrow = torch.where(valid, labels, -1).int()
    classes = torch.arange(logits.shape[1], dtype=torch.int32, device=logits.device).unsqueeze(1)
    # One name for one tensor: torch.compile keeps its promises about aliases by copying.
    apart = rows if with_gradient and rows is not logits else None
    value: Tensor = _compiled(logits, narrow, classes, own_weight, apart, gamma=gamma, with_gradient=with_gradient)
    return value


forward = partial(tiled.forward, focal_tile)
backward = partial(tiled.backward, focal_tile)
