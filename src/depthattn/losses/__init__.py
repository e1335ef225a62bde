"""The losses as modules: options, and one call into :mod:`depthattn.functional`."""

from depthattn.losses.attention_driven import AttentionDrivenLoss, AttentionDrivenLosses
from depthattn.losses.depth_aware import DepthAwareLoss
from depthattn.losses.joint_gradient import JointGradientLoss
from depthattn.losses.semantic_focal import SemanticFocalLoss

__all__ = [
    "AttentionDrivenLoss",
    "AttentionDrivenLosses",
    "DepthAwareLoss",
    "JointGradientLoss",
    "SemanticFocalLoss",
]
