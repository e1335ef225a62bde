"""What each of two processes does: a step of its half of a batch, with layers and a learned loss under DDP."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.gloo import group_of_two
from tests.ops.cases import depth, labels_for, random
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

import depthattn

HALVES = (slice(0, 2), slice(2, 4))


class TwoTasks(nn.Module):
    """Depth and labels of an image, by a sharing unit and an up-skip."""

    def __init__(self) -> None:
        super().__init__()
        self.stems = nn.ModuleList(nn.Conv2d(3, 4, 3, stride=2, padding=1) for _ in range(2))
        self.unit = depthattn.LateralSharingUnit(2, channels=(4, 4))
        self.up_skip = depthattn.SemiDenseUpSkip((4, 4), 3)
        self.head = nn.Conv2d(4, 5, 1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        depth_features, label_features = self.unit(*(stem(image) for stem in self.stems))
        merged = self.up_skip([depth_features, label_features], (image.shape[2], image.shape[3]))
        logits = self.head(label_features)
        return merged.mean(1).exp(), nn.functional.interpolate(logits, image.shape[2:])


def parts() -> tuple[TwoTasks, depthattn.AttentionDrivenLoss]:
    torch.manual_seed(0)
    return TwoTasks(), depthattn.AttentionDrivenLoss(weights="learned")


def step(network: nn.Module, loss: nn.Module, half: slice) -> dict[str, Tensor]:
    """The gradients of every parameter after one backward pass."""
    image = random(4, 3, 8, 10, seed=1).float()[half]
    target, labels = depth(4, 8, 10, seed=2).float()[half], labels_for(4, 8, 10, classes=5)[half]
    pred, logits = network(image)
    loss(pred, logits, target, labels).total.backward()
    return {
        name.removeprefix("module."): parameter.grad
        for module in (network, loss)
        for name, parameter in module.named_parameters()
        if parameter.grad is not None
    }


def step_of_one(rank: int, folder: str) -> None:
    """Run in process ``rank``: leaves its gradients in a file."""
    with group_of_two(rank, folder):
        network, loss = (DistributedDataParallel(part) for part in parts())
        torch.save(step(network, loss, HALVES[rank]), Path(folder, f"{rank}.pt"))
