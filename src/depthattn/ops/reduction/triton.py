"""The reduction on a GPU: tensor code, which waits for nothing."""

from depthattn.ops.reduction.reference import reduced, scales_for

__all__ = ["reduced", "scales_for"]
