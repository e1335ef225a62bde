"""The semantic focal loss through torch.compile, a tile of pixels with all their classes at a time."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from depthattn.ops.compiled import Compiled
from depthattn.ops.masking import compute_dtype, valid_labels
from depthattn.ops.semantic_focal import tiled

# Elements per thread. The compiled loops pass through a tile three times, but keep nothing of its size between them:
# fewer calls count for more than the caches.
_TILE = 1 << 21


def _safe_labels(target: Tensor, classes: Tensor, *, ignore_index: int) -> Tensor:
    """Labels as int32, -1 where they do not name a class: found once per pixel, not once per pixel and class."""
    target = target.long()
    return torch.where(valid_labels(target, classes.shape[0], ignore_index), target, -1).int()


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


_compiled_labels = Compiled(_safe_labels)
_compiled_tile = Compiled(_tile)


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
    classes = torch.arange(logits.shape[1], dtype=torch.int32, device=logits.device).unsqueeze(1)
    labels = _compiled_labels(target, classes, ignore_index=ignore_index)
    valid = labels >= 0
    counts = valid.sum(1)
    own_weight, weight_sums = None, counts.to(rows.dtype)
    if weight is not None:
        own_weight = weight.to(rows.dtype)[labels.clamp(min=0)].masked_fill_(~valid, 0)
        weight_sums = own_weight.sum(1)
    # One name for one tensor: torch.compile keeps its promises about aliases by copying.
    apart = rows if with_gradient and rows is not logits else None
    value = _compiled_tile(logits, labels, classes, own_weight, apart, gamma=gamma, with_gradient=with_gradient)
    return value.sum(1), counts, weight_sums


forward = partial(tiled.forward, focal_sums, _TILE)
backward = partial(tiled.backward, focal_sums, _TILE)
