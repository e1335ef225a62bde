"""The layers as modules: lateral sharing, semi-dense up-skip and up-projection."""

from depthattn.layers.lateral_sharing import LateralSharingUnit
from depthattn.layers.semi_dense_up_skip import SemiDenseUpSkip
from depthattn.layers.up_projection import UpProjection

__all__ = ["LateralSharingUnit", "SemiDenseUpSkip", "UpProjection"]
