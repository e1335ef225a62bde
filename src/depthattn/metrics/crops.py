"""The crop of an image that is scored."""

from __future__ import annotations

from typing import TypeAlias

import torch
from torch import Tensor

from depthattn.ops import checks

Span: TypeAlias = tuple[int, int] | tuple[float, float]
Crop: TypeAlias = tuple[Span, Span]

EIGEN_CROP: Crop = ((45, 471), (41, 601))
GARG_CROP: Crop = ((0.40810811, 0.99189189), (0.03594771, 0.96405229))
KITTI_EIGEN_CROP: Crop = ((0.3324324, 0.91351351), (0.0359477, 0.96405229))


def crop_mask(size: tuple[int, int], crop: Crop = EIGEN_CROP) -> Tensor:
    """Make a mask of the crop of an image that is scored.

    Crops in use for NYU Depth at 480x640, as Python slices of rows and columns: 45:471, 41:601 (``EIGEN_CROP``: Eigen
    et al., and most later papers), 20:459, 24:615 and 21:461, 25:617. Those for KITTI, whose images differ in size, are
    fractions of height and width, rounded down: ``GARG_CROP`` (most results on the split of Eigen et al.) and
    ``KITTI_EIGEN_CROP`` (Eigen et al.). Scores of different crops do not compare.

    Args:
        size: (H, W) of the image in pixels.
        crop: ((first row, row after the last), (first column, column after the last)): ints are pixels, floats in
            [0, 1] fractions of the side.

    Returns:
        bool (H, W), True inside the crop.

    Raises:
        ValueError: if the crop is empty or does not lie inside the image.

    Source:
        Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NIPS 2014; Garg et
        al., "Unsupervised CNN for Single View Depth Estimation", ECCV 2016.

    Example:
        >>> from depthattn.metrics import GARG_CROP, crop_mask
        >>> int(crop_mask((480, 640)).sum()) == (471 - 45) * (601 - 41)
        True
        >>> int(crop_mask((375, 1242), GARG_CROP).sum()) == (371 - 153) * (1197 - 44)
        True
    """
    height, width = checks.image_size("crop_mask", size)
    top, bottom, left, right = (
        int(end * side) if isinstance(end, float) else end
        for span, side in zip(crop, (height, width), strict=True)
        for end in span
    )
    if not (0 <= top < bottom <= height and 0 <= left < right <= width):
        raise ValueError(
            f"crop_mask: expected a crop inside {height}x{width} pixels, got rows {top}:{bottom}, "
            f"columns {left}:{right}"
        )
    mask = torch.zeros(height, width, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask
