"""A lateral sharing unit in a decoder of three tasks of unequal width, put in without changing what it computes.

python examples/custom_multitask_decoder.py
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from depthattn import LateralSharingUnit

WIDTHS = {"depth": (64, 32, 16), "labels": (64, 48, 32), "normals": (64, 32, 16)}


def up(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(before, after, 3, padding=1), nn.ReLU()
    )


class ThreeTasks(nn.Module):
    """One decoder per task; after each level the tasks may look at each other."""

    def __init__(self, share: bool) -> None:
        super().__init__()
        levels = range(len(WIDTHS["depth"]) - 1)
        self.decoders = nn.ModuleDict(
            {task: nn.ModuleList(up(w[i], w[i + 1]) for i in levels) for task, w in WIDTHS.items()}
        )
        self.sharing = nn.ModuleList(
            LateralSharingUnit(3, channels=[w[i + 1] for w in WIDTHS.values()]) for i in levels if share
        )

    def forward(self, encoded: Tensor) -> dict[str, Tensor]:
        features = [encoded] * len(WIDTHS)
        for level in range(len(WIDTHS["depth"]) - 1):
            features = [decoder[level](x) for decoder, x in zip(self.decoders.values(), features, strict=True)]
            if self.sharing:
                features = list(self.sharing[level](*features))
        return dict(zip(WIDTHS, features, strict=True))


def main() -> dict[str, float]:
    torch.manual_seed(0)
    trained, encoded = ThreeTasks(share=False), torch.randn(2, 64, 8, 10)
    shared = ThreeTasks(share=True)
    shared.load_state_dict(trained.state_dict(), strict=False)
    before, after = trained(encoded), shared(encoded)
    for task in WIDTHS:
        print(f"{task:8s} {tuple(after[task].shape)}  changed: {not torch.equal(before[task], after[task])}")
    sum(x.square().mean() for x in after.values()).backward()
    slopes = {
        f"level {level}: {name}": float(row.grad[source])
        for level, unit in enumerate(shared.sharing, start=1)
        for (name, _), (row, source) in zip(
            unit.gates().items(), ((row, source) for row in unit.weight for source in range(3)), strict=True
        )
    }
    print("what the gates would learn from one step:")
    for name, slope in slopes.items():
        print(f"  {name}  gradient {slope:+.4f}")
    return slopes


if __name__ == "__main__":
    main()
