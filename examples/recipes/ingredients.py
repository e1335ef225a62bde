"""What the recipes share: a small network, batches of synthetic rooms, and the loss.

Replace them by a network of your own, which maps images (B,3,H,W) to depth (B,1,H,W) in
metres and logits (B,K,h,w), and by a loader of your own images.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from depthattn import (
    AttentionDrivenLoss,
    DepthAwareLoss,
    JointGradientLoss,
    SemanticFocalLoss,
)
from depthattn.data import Sample, SyntheticRooms

CLASSES = 14


class SmallNet(nn.Module):
    """Depth at the size of the image, logits at a quarter of it."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.depth = nn.Conv2d(32, 1, 3, padding=1)
        self.labels = nn.Conv2d(32, CLASSES, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.encoder(image)
        depth = F.softplus(self.depth(features) + 2.0)
        depth = F.interpolate(
            depth, image.shape[2:], mode="bilinear", align_corners=False
        )
        return depth, self.labels(features)


def attention_loss() -> AttentionDrivenLoss:
    """The three losses, without the term on labels, which made edges worse.

    The focal loss resizes the small logits itself.
    """
    return AttentionDrivenLoss(
        DepthAwareLoss(max_depth=10.0),
        JointGradientLoss(semantic_weight=0.0),
        semantic_focal=SemanticFocalLoss(upsample="bilinear"),
        weights=(1.0, 0.05, 1.0),
    )


def room_batches(steps: int, seed: int = 0) -> DataLoader[Sample]:
    """Four rooms per step, the same rooms in the same order for each seed."""
    return DataLoader(SyntheticRooms(4 * steps, size=(32, 64), seed=seed), batch_size=4)
