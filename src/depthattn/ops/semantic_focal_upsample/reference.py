"""The formula of the semantic focal loss on resized logits: the oracle of every faster path, and of double backward."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.nn.functional import interpolate

from depthattn.ops.masking import compute_dtype, image_sums
from depthattn.ops.semantic_focal import reference

state = reference.state


def values(logits: Tensor, target: Tensor, weight: Tensor | None, options: Any) -> tuple[Tensor, Tensor]:
    """The values at the size of the labels, and how much each pixel counts, both (B,H,W)."""
    wide = logits.to(compute_dtype(logits))
    resized = interpolate(wide, target.shape[1:], mode="bilinear", align_corners=options.align_corners)
    value, counts = reference.values(resized.flatten(2), target.flatten(1), weight, options)
    return value.view(target.shape), counts.view(target.shape)


def terms(logits: Tensor, target: Tensor, weight: Tensor | None, state: Tensor, options: Any) -> tuple[Tensor, Tensor]:
    """Sums of each image and what they are divided by, (1,B)."""
    value, counts = values(logits, target, weight, options)
    return image_sums(value)[None], counts.sum((1, 2))[None]
