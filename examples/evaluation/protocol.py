"""What is done to a prediction before it is scored: its size, its space, its alignment, and the pixels that count."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from depthattn.metrics import EIGEN_CROP, GARG_CROP, KITTI_EIGEN_CROP, align_depth, crop_mask, from_depth, to_depth
from depthattn.metrics.crops import Crop
from evaluation.settings import Settings

_NYU_SIZE = (480, 640)
_NAMED_CROPS = {"eigen": EIGEN_CROP, "garg": GARG_CROP, "kitti-eigen": KITTI_EIGEN_CROP}
_OTHERS = "garg and kitti-eigen fit KITTI, none and ROW:ROW,COLUMN:COLUMN any frame"


class Protocol:
    """The way from what was predicted to the depth that is scored.

    Args:
        settings: from the command line.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.mask = lru_cache(maxsize=8)(self._mask)

    def _mask(self, size: tuple[int, int]) -> Tensor:
        """The crop, bool (1, H, W).

        Raises:
            ValueError: it does not fit frames of that size.
        """
        crop: Crop | None
        word, crop = self.settings.crop, _NAMED_CROPS.get(self.settings.crop, self.settings.spans)
        if crop is None:
            return torch.ones(1, *size, dtype=torch.bool)
        try:
            mask = crop_mask(size, crop)
        except ValueError as error:
            raise ValueError(f"--crop {word}: {str(error).removeprefix('crop_mask: ')}; {_OTHERS}") from error
        if word == "eigen" and size != _NYU_SIZE:
            raise ValueError(f"--crop eigen: expected frames of 480x640, got {size[0]}x{size[1]}; {_OTHERS}")
        return mask.unsqueeze(0)

    def at_size(self, values: Tensor, size: tuple[int, int]) -> Tensor:
        """What was predicted (h, w), at the size of the ground truth, (1, H, W)."""
        if values.shape == size:
            return values[None]
        # A weight of 0 makes NaN of infinity: as large as a number can be, it is clamped like it.
        finite = values.nan_to_num(nan=torch.nan)
        return interpolate(finite[None, None], size, mode="bilinear", align_corners=False)[0]

    def depth(self, values: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Depth in metres from values at the size of the ground truth, aligned to it where that is asked for."""
        settings = self.settings
        if settings.align is None:
            return to_depth(values, settings.pred_space)
        if settings.align_space != settings.pred_space:
            values = from_depth(
                to_depth(values, settings.pred_space).clamp(min=settings.min_depth), settings.align_space
            )
        return align_depth(
            values,
            target,
            mask,
            method=settings.align,
            space=settings.align_space,
            min_depth=settings.min_depth,
            max_depth=settings.max_depth,
        )
