"""The formula of the semi-dense up-skip: the oracle of every faster path, and the path of double backward."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import interpolate

from depthattn.ops.masking import compute_dtype


def resize(feature: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """Resize (B,C,h,w) to (B,C,H,W) as torch does, without aligned corners."""
    if mode == "nearest":
        return interpolate(feature, size, mode="nearest-exact")
    return interpolate(feature, size, mode="bilinear", align_corners=False)


def merge(features: list[Tensor], size: tuple[int, int], mode: str) -> Tensor:
    """sum_j resize(f_j, size): (B,C,h_j,w_j) -> (B,C,H,W)."""
    dtype = compute_dtype(*features)
    total = resize(features[0].to(dtype), size, mode)
    for feature in features[1:]:
        total = total + resize(feature.to(dtype), size, mode)
    return total.to(features[0].dtype)
