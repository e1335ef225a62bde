"""Losses and layers of "Look Deeper into Depth" (Jiao et al., ECCV 2018) for PyTorch.

Names are loaded when they are first used: importing the package costs no more than importing torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from depthattn._version import __version__

if TYPE_CHECKING:
    from depthattn import data, functional, metrics, models, viz
    from depthattn.layers import LateralSharingUnit, SemiDenseUpSkip, UpProjection
    from depthattn.losses import (
        AttentionDrivenLoss,
        AttentionDrivenLosses,
        DepthAwareLoss,
        JointGradientLoss,
        SemanticFocalLoss,
    )
    from depthattn.models import SynergyNet
    from depthattn.ops.backend import show_config, use_backend
    from depthattn.ops.validation import set_validation

_HOMES = {
    "AttentionDrivenLoss": "depthattn.losses",
    "AttentionDrivenLosses": "depthattn.losses",
    "DepthAwareLoss": "depthattn.losses",
    "JointGradientLoss": "depthattn.losses",
    "LateralSharingUnit": "depthattn.layers",
    "SemanticFocalLoss": "depthattn.losses",
    "SemiDenseUpSkip": "depthattn.layers",
    "SynergyNet": "depthattn.models",
    "UpProjection": "depthattn.layers",
    "set_validation": "depthattn.ops.validation",
    "show_config": "depthattn.ops.backend",
    "use_backend": "depthattn.ops.backend",
}
_MODULES = ("data", "functional", "metrics", "models", "viz")

__all__ = [
    "AttentionDrivenLoss",
    "AttentionDrivenLosses",
    "DepthAwareLoss",
    "JointGradientLoss",
    "LateralSharingUnit",
    "SemanticFocalLoss",
    "SemiDenseUpSkip",
    "SynergyNet",
    "UpProjection",
    "__version__",
    "data",
    "functional",
    "metrics",
    "models",
    "set_validation",
    "show_config",
    "use_backend",
    "viz",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        value: Any = importlib.import_module(f"depthattn.{name}")
    elif name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
    else:
        raise AttributeError(f"module 'depthattn' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
