"""The plain loop with kornia's augmentation: the image, its depth and its labels turned and mirrored together.

python examples/recipes/with_kornia.py
"""

from __future__ import annotations

import sys

import torch
from torch import Tensor, nn

from ingredients import SmallNet, attention_loss, room_batches

try:
    from kornia import augmentation
except ModuleNotFoundError as error:
    sys.exit(f'{error}: pip install "depthattn[recipes]"')


class TurnAndMirror(nn.Module):
    """A turn about the optical axis and a mirror image: both leave the depth of what is seen as it was."""

    def __init__(self, degrees: float, mirrored: float) -> None:
        super().__init__()
        self.together = augmentation.AugmentationSequential(
            augmentation.RandomRotation(degrees, p=1.0),
            augmentation.RandomHorizontalFlip(p=mirrored),
            data_keys=["input", "mask", "mask"],  # masks are not interpolated: no depth between two surfaces
        )

    def forward(self, image: Tensor, depth: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        # What comes in from outside the picture is 0: a missing depth already, but the first class. One up, one down.
        image, depth, names = self.together(image, depth, (labels + 1).clamp(min=0).unsqueeze(1).float())
        names = names.squeeze(1).long()
        return image, depth, torch.where(names == 0, -100, names - 1)


def main(steps: int = 10, degrees: float = 10.0, mirrored: float = 0.5) -> list[float]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network, criterion = SmallNet().to(device), attention_loss().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    augment = TurnAndMirror(degrees, mirrored)

    losses = []
    for batch in room_batches(steps):
        image, target, labels = augment(*(batch[key].to(device) for key in ("image", "depth", "labels")))
        depth, logits = network(image)
        parts = criterion(depth, logits, target, labels)
        optimizer.zero_grad()
        parts.total.backward()
        optimizer.step()
        losses.append(parts.total.detach())
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    print("losses", *(f"{loss:.3f}" for loss in main()))
