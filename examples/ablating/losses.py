"""The loss of a trial: that of the paper, piece by piece, with plain ones in the place of missing pieces."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ablating.settings import Settings
from ablating.variants import Variant
from depthattn import DepthAwareLoss, JointGradientLoss, SemanticFocalLoss
from depthattn.data import Sample
from depthattn.models import SynergyOutput


class SmoothL1Loss(nn.Module):
    """Smooth L1 (beta 1 m), the mean over the pixels with a true depth."""

    def forward(self, depth: Tensor, target: Tensor) -> Tensor:
        valid = target > 0
        errors = F.smooth_l1_loss(depth, target, reduction="none")
        return torch.where(valid, errors, 0.0).sum() / valid.sum().clamp(min=1)


class TrialLoss(nn.Module):
    """Sum of the losses of a variant.

    Args:
        variant: says which pieces it has.
        settings: weights and options of the pieces.
        class_weights: of the semantic focal loss, (K,), or None.
    """

    def __init__(self, variant: Variant, settings: Settings, class_weights: Tensor | None) -> None:
        super().__init__()
        depth_aware, joint_gradient, semantic_focal = settings.loss_weights
        focal = "semantic_focal" in variant.pieces
        attention = "depth_aware" in variant.pieces
        self.depth: nn.Module = (
            DepthAwareLoss(max_depth=settings.max_depth, detach_weight=settings.detach_weight)
            if attention
            else SmoothL1Loss()
        )
        self.depth_weight = depth_aware if attention else 1.0
        self.gradient = JointGradientLoss() if "joint_gradient" in variant.pieces else None
        self.gradient_weight = joint_gradient
        # Cross entropy is the focal loss with gamma 0 and without weights.
        self.labels = SemanticFocalLoss(
            class_weights if focal else None, gamma=settings.gamma if focal else 0.0, upsample="bilinear"
        )
        self.labels_weight = semantic_focal if focal else 1.0

    def forward(self, output: SynergyOutput, batch: Sample) -> Tensor:
        total = self.depth_weight * self.depth(output.depth, batch["depth"])
        total = total + self.labels_weight * self.labels(output.semantics, batch["labels"])
        if self.gradient is not None:
            total = total + self.gradient_weight * self.gradient(output.depth, batch["depth"], labels=batch["labels"])
        return total
