"""Scores of depth and of semantic labels, as torchmetrics metrics: they add up over batches and processes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from depthattn._extras import require
from depthattn.metrics.class_balance import class_weights
from depthattn.metrics.protocol import EIGEN_CROP, align_depth, crop_mask

if TYPE_CHECKING:
    from depthattn.metrics.depth import ConstantDepthBaseline, DepthMetrics
    from depthattn.metrics.long_tail import DepthBinnedMetrics
    from depthattn.metrics.segmentation import SegmentationMetrics

_HOMES = {
    "ConstantDepthBaseline": "depthattn.metrics.depth",
    "DepthBinnedMetrics": "depthattn.metrics.long_tail",
    "DepthMetrics": "depthattn.metrics.depth",
    "SegmentationMetrics": "depthattn.metrics.segmentation",
}

__all__ = [
    "EIGEN_CROP",
    "ConstantDepthBaseline",
    "DepthBinnedMetrics",
    "DepthMetrics",
    "SegmentationMetrics",
    "align_depth",
    "class_weights",
    "crop_mask",
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
