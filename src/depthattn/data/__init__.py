"""Datasets of images with depth and labels, and their joint augmentation.

Every dataset returns the same sample: ``image`` float32 (3,H,W) RGB in [0,1], ``depth`` float32 (1,H,W) in metres with
0 where it is missing, ``labels`` int64 (H,W) with -100 where there is none.
"""

from __future__ import annotations

from depthattn.data import transforms
from depthattn.data.classes import class_names
from depthattn.data.depth_files import DepthCoding
from depthattn.data.errors import DataError
from depthattn.data.folder import RGBDList
from depthattn.data.frame_paths import FramePaths
from depthattn.data.label_files import LabelCoding
from depthattn.data.layouts import Layout, find_layout
from depthattn.data.nyu import NYUDepthV2
from depthattn.data.sample import Sample, Transform
from depthattn.data.synthetic import SyntheticRooms

__all__ = [
    "DataError",
    "DepthCoding",
    "FramePaths",
    "LabelCoding",
    "Layout",
    "NYUDepthV2",
    "RGBDList",
    "Sample",
    "SyntheticRooms",
    "Transform",
    "class_names",
    "find_layout",
    "transforms",
]
