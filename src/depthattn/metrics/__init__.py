"""Scores of depth and of semantic labels, as torchmetrics metrics: they add up over batches and processes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from depthattn._extras import require
from depthattn.metrics.alignment import align_depth, from_depth, to_depth
from depthattn.metrics.class_balance import class_weights
from depthattn.metrics.crops import EIGEN_CROP, GARG_CROP, KITTI_EIGEN_CROP, crop_mask

if TYPE_CHECKING:
    from depthattn.metrics.boundaries import BoundaryF1
    from depthattn.metrics.depth import ConstantDepthBaseline, DepthMetrics
    from depthattn.metrics.long_tail import DepthBinnedMetrics
    from depthattn.metrics.segmentation import SegmentationMetrics

_HOMES = {
    "BoundaryF1": "depthattn.metrics.boundaries",
    "ConstantDepthBaseline": "depthattn.metrics.depth",
    "DepthBinnedMetrics": "depthattn.metrics.long_tail",
    "DepthMetrics": "depthattn.metrics.depth",
    "SegmentationMetrics": "depthattn.metrics.segmentation",
}

__all__ = [
    "EIGEN_CROP",
    "GARG_CROP",
    "KITTI_EIGEN_CROP",
    "BoundaryF1",
    "ConstantDepthBaseline",
    "DepthBinnedMetrics",
    "DepthMetrics",
    "SegmentationMetrics",
    "align_depth",
    "class_weights",
    "crop_mask",
    "from_depth",
    "to_depth",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'depthattn.metrics' has no attribute {name!r}")
    require("torchmetrics", extra="train", purpose=name)
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
