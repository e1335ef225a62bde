"""The plain loop with kornia's augmentation of image, depth and labels together.

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
    sys.exit(f'{error}: pip install ".[recipes]"')


class RotateAndFlip(nn.Module):
    """Rotation and horizontal flip of image, depth and labels; depth values stay."""

    def __init__(self, degrees: float, flipped: float) -> None:
        super().__init__()
        self.together = augmentation.AugmentationSequential(
            augmentation.RandomRotation(degrees, p=1.0),
            augmentation.RandomHorizontalFlip(p=flipped),
            data_keys=["input", "mask", "mask"],  # masks are resampled by nearest
        )

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        # kornia fills empty corners with 0: missing depth, but a valid class. Class
        # ids are raised by one before, and lowered by one after.
        ids = (batch["labels"] + 1).clamp(min=0).unsqueeze(1).float()
        image, depth, ids = self.together(batch["image"], batch["depth"], ids)
        labels = ids.squeeze(1).long() - 1
        labels = labels.masked_fill(labels < 0, -100)
        return {"image": image, "depth": depth, "labels": labels}


def main(steps: int = 10, degrees: float = 10.0, flipped: float = 0.5) -> list[float]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    network, criterion = SmallNet().to(device), attention_loss().to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=2e-3)
    augment = RotateAndFlip(degrees, flipped)

    losses = []
    for batch in room_batches(steps):
        batch = augment({name: values.to(device) for name, values in batch.items()})
        depth, logits = network(batch["image"])
        parts = criterion(depth, logits, batch["depth"], batch["labels"])
        optimizer.zero_grad()
        parts.total.backward()
        optimizer.step()
        losses.append(parts.total.detach())
    return torch.stack(losses).tolist()


if __name__ == "__main__":
    print("losses", *(f"{loss:.3f}" for loss in main()))
