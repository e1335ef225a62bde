"""The network of a trial: SynergyNet, of whose encoder only the last blocks are trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from ablating.settings import Settings
from ablating.variants import Variant
from depthattn import SynergyNet
from depthattn.models import EfficientNetLite, SynergyOutput


def target_stride(settings: Settings) -> int:
    """Pixels of an image in one of the decoders' last map."""
    return max(1, settings.output_stride >> len(settings.decoder_channels))


class PartlyFrozen(nn.Module):
    """SynergyNet on features of the frozen part of its encoder, which never change and are computed once.

    Args:
        net: whose encoder is an EfficientNet-Lite.
        trained_blocks: how many of its last blocks are trained.
    """

    def __init__(self, net: SynergyNet, trained_blocks: int) -> None:
        super().__init__()
        self.net = net
        self._frozen = len(self._blocks) - trained_blocks
        if self._frozen < 0:
            raise ValueError(f"--trained-blocks: expected at most {len(self._blocks)}, got {trained_blocks}")
        net.encoder.requires_grad_(False)
        self.tail.requires_grad_(True)

    @property
    def _blocks(self) -> list[nn.Module]:
        return list(cast(EfficientNetLite, self.net.encoder).blocks)

    @property
    def tail(self) -> nn.Sequential:
        """The blocks of the encoder that are trained."""
        return nn.Sequential(*self._blocks[self._frozen :])

    @torch.no_grad()
    def frozen_features(self, image: Tensor) -> Tensor:
        """What the trained part starts from, (B,C,h,w), of images (B,3,H,W) in [0, 1]; batch norms do not learn."""
        self.net.encoder.eval()
        if self._frozen == len(self._blocks):
            return self.net.encode(image)[-1]
        kept: list[Tensor] = []
        first = self._blocks[self._frozen]
        hook = first.register_forward_pre_hook(lambda _, given: kept.append(given[0]))
        self.net.encode(image)
        hook.remove()
        return kept[0]

    def forward(self, features: Tensor, image_size: tuple[int, int]) -> SynergyOutput:
        """Predict, at the decoders' own size, from what :meth:`frozen_features` returned."""
        return self.net.decode([self.tail(features)], image_size)

    def trained(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The parameters that are trained, by name."""
        return ((name, value) for name, value in self.net.named_parameters() if value.requires_grad)


def build_model(variant: Variant, num_classes: int, settings: Settings, seed: int) -> PartlyFrozen:
    """The network of ``variant``; what it has in common with the plainest starts from the same weights."""
    net = plain = _build(num_classes, settings, seed, sharing=None, up_skip=False)
    if variant.sharing is not None or variant.up_skip:
        net = _build(num_classes, settings, seed, sharing=variant.sharing, up_skip=variant.up_skip)
        net.load_state_dict(plain.state_dict(), strict=False)
    return PartlyFrozen(net.to(memory_format=torch.channels_last), settings.trained_blocks)


def _build(num_classes: int, settings: Settings, seed: int, *, sharing: str | None, up_skip: bool) -> SynergyNet:
    torch.manual_seed(seed)
    return SynergyNet(
        settings.encoder,
        num_classes,
        decoder_channels=settings.decoder_channels,
        sharing=sharing,
        up_skip=up_skip,
        upsample_semantics="eval",
        output_stride=settings.output_stride,
        encoder_weights=settings.encoder_weights,
    )
