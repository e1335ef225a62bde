"""The semantic focal loss on resized logits, with the Triton kernels of the loss itself on each band."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from depthattn.ops.semantic_focal import triton as kernels
from depthattn.ops.semantic_focal.tiled import Sums
from depthattn.ops.semantic_focal_upsample import tiled


def _focal_sums(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    gamma: float,
    ignore_index: int,
    rows: Tensor,
    with_gradient: bool,
) -> Sums:
    sums, counts, weights, _ = kernels.forward(logits, target, weight, gamma, ignore_index, False)
    if with_gradient:
        one = sums.new_ones(logits.shape[0])
        rows.copy_(kernels.backward(one, logits, target, weight, gamma, ignore_index))
    return sums, counts, weights


forward = partial(tiled.forward, _focal_sums)
backward = partial(tiled.backward, _focal_sums)
