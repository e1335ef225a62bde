"""The semi-dense up-skip as plain tensor code."""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.semi_dense_up_skip import reference


def forward(features: list[Tensor], height: int, width: int, mode: str) -> Tensor:
    return reference.merge(features, (height, width), mode).contiguous()


def backward(grad: Tensor, heights: list[int], widths: list[int], mode: str) -> list[Tensor]:
    features = [grad.new_zeros(*grad.shape[:2], h, w) for h, w in zip(heights, widths, strict=True)]

    def merge(features: list[Tensor]) -> Tensor:
        return reference.merge(features, tuple(grad.shape[2:]), mode)

    grads: list[Tensor] = torch.func.vjp(merge, features)[1](grad)[0]
    return [g.contiguous() for g in grads]
