"""The formula of the semi-dense up-skip: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn.functional import interpolate

from depthattn.ops.masking import compute_dtype


def resize(feature: Tensor, size: tuple[int, int], mode: str, align_corners: bool) -> Tensor:
    """Resize (B,C,h,w) to (B,C,H,W) as torch does."""
    if mode == "nearest":
        return interpolate(feature, size, mode="nearest-exact")
    return interpolate(feature, size, mode="bilinear", align_corners=align_corners)


def merge(features: Sequence[Tensor], size: tuple[int, int], mode: str, align_corners: bool) -> Tensor:
    """sum_j resize(f_j, size): (B,C,h_j,w_j) -> (B,C,H,W)."""
    dtype = compute_dtype(*features)
    total = resize(features[0].to(dtype), size, mode, align_corners)
    for feature in features[1:]:
        total = total + resize(feature.to(dtype), size, mode, align_corners)
    return total.to(features[0].dtype)
