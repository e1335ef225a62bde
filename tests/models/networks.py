"""Small encoders and networks for tests."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from torch import Tensor, nn

from depthattn import SynergyNet


class Stem(nn.Module):
    """An encoder of stride 8 and a few thousand weights, which runs, compiles and exports in no time."""

    def __init__(self) -> None:
        super().__init__()
        widths = (3, 4, 8, 16)
        self.stages = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(widths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        maps = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Pyramid(nn.Module):
    """An encoder with a map of each given stride, whose sides are rounded down."""

    def __init__(self, strides: tuple[int, ...]) -> None:
        super().__init__()
        self.channels, self.reductions = (2,) * len(strides), strides
        self.convs = nn.ModuleList(nn.Conv2d(3, 2, stride, stride=stride) for stride in strides)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [conv(x) for conv in self.convs]


def small(**options: Any) -> SynergyNet:
    return SynergyNet(Stem(), 5, **{"decoder_channels": (8, 8, 4), **options})
