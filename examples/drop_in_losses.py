"""The losses in a depth model that knows nothing of this package: a few steps on synthetic rooms.

python examples/drop_in_losses.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from depthattn import DepthAwareLoss, JointGradientLoss
from depthattn.data import SyntheticRooms


class SmallDepthModel(nn.Module):
    """Any model that maps an image (B,3,H,W) to depth (B,1,H,W) in metres would do."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        self.features = nn.Sequential(*layers)
        self.head = nn.Conv2d(64, 1, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        depth = nn.functional.softplus(self.head(self.features(image)) + 2.0)
        return nn.functional.interpolate(depth, image.shape[2:], mode="bilinear", align_corners=False)


def main(steps: int = 20) -> list[float]:
    torch.manual_seed(0)
    model = SmallDepthModel()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    depth_aware = DepthAwareLoss(max_depth=10.0)
    joint_gradient = JointGradientLoss()
    losses = []
    for step, batch in enumerate(DataLoader(SyntheticRooms(8 * steps, size=(96, 128)), batch_size=8), start=1):
        depth = model(batch["image"])
        far = depth_aware(depth, batch["depth"])
        edges = joint_gradient(depth, batch["depth"])
        loss = far + 0.05 * edges
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        print(f"step {step:2d}/{steps}  depth-aware {far.item():.3f}  joint gradient {edges.item():.3f}")
    return losses


if __name__ == "__main__":
    main()
