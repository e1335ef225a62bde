"""The network of a trial: SynergyNet on an encoder small enough to train in a minute on one core."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from ablating.settings import Settings
from ablating.variants import Variant
from depthattn import SynergyNet
from depthattn.models.encoders import Encoder
from depthattn.models.resnet import BasicBlock

COMPACT = "compact"

_WIDTHS = (16, 32, 64, 96)


class CompactEncoder(Encoder):
    """A stem and three residual blocks, each halving the picture: maps at strides 2, 4, 8 and 16."""

    channels = _WIDTHS
    reductions = (2, 4, 8, 16)

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, _WIDTHS[0], 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(_WIDTHS[0]), nn.ReLU()
        )
        self.blocks = nn.ModuleList(BasicBlock(before, after, 2) for before, after in pairwise(_WIDTHS))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = [self.stem(image)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps


def build_model(variant: Variant, num_classes: int, settings: Settings, seed: int) -> SynergyNet:
    """The network of ``variant``; what it has in common with the baseline's starts from the same weights."""
    baseline = _build(num_classes, settings, seed, sharing=False, up_skip=False)
    model = _build(
        num_classes, settings, seed, sharing="sharing" in variant.pieces, up_skip="up_skip" in variant.pieces
    )
    model.load_state_dict(baseline.state_dict(), strict=False)
    return model


def _build(num_classes: int, settings: Settings, seed: int, *, sharing: bool, up_skip: bool) -> SynergyNet:
    torch.manual_seed(seed)
    return SynergyNet(
        CompactEncoder() if settings.encoder == COMPACT else settings.encoder,
        num_classes,
        decoder_channels=settings.decoder_channels,
        sharing="scalar" if sharing else None,
        up_skip=up_skip,
        upsample_semantics="eval",
        encoder_weights=settings.encoder_weights,
    ).to(memory_format=torch.channels_last)
