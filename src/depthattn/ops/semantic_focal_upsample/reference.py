"""The formula of the semantic focal loss on resized logits: the oracle of every faster path, and of double backward."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from depthattn.ops.masking import compute_dtype
from depthattn.ops.semantic_focal import reference


def per_pixel(logits: Tensor, target: Tensor, weight: Tensor | None, gamma: float, ignore_index: int) -> Tensor:
    """The values at the size of the labels: (B,K,h,w), (B,H,W) -> (B,H,W)."""
    resized = interpolate(logits.to(compute_dtype(logits)), target.shape[1:], mode="bilinear", align_corners=False)
    values = reference.per_pixel(resized.flatten(2), target.flatten(1), weight, gamma, ignore_index)
    return values.view(target.shape)
