"""ResNet encoders whose parameters are named as torchvision and timm name them."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from torch import Tensor, nn

from depthattn.models.dilation import OutputStride, Stage, dilated
from depthattn.models.encoders import Encoder


def _conv_norm(in_channels: int, out_channels: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels)
    )


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (ResNet-18 and 34)."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        begins, goes_on = dilations
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride=stride, padding=begins, dilation=begins, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=goes_on, dilation=goes_on, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _conv_norm(in_channels, width, stride) if stride != 1 or in_channels != width else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut (ResNet-50); the 3x3 has the stride, as in the published weights."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int, dilations: tuple[int, int] = (1, 1)) -> None:
        super().__init__()
        out_channels, dilation = width * self.expansion, dilations[0]
        self.conv1 = nn.Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        needs_projection = stride != 1 or in_channels != out_channels
        self.downsample = _conv_norm(in_channels, out_channels, stride) if needs_projection else None

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return F.relu(self.bn3(self.conv3(x)) + shortcut)


_BLOCKS: dict[str, tuple[type[BasicBlock] | type[Bottleneck], tuple[int, int, int, int]]] = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet34": (BasicBlock, (3, 4, 6, 3)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
}
RESNETS = tuple(_BLOCKS)
# Channels of the stem and of the first stage, then of the others.
_WIDTHS = (64, 128, 256, 512)


class ResNet(Encoder):
    """ResNet without its classifier: maps at strides 2, 4, 8, 16 and 32.

    Args:
        name: ``"resnet18"``, ``"resnet34"`` or ``"resnet50"``.
        output_stride: stride of the coarsest map, 32, 16 or 8. Below 32 the last one or two halvings become
            dilations, as in DeepLab; the weights are the same.

    Raises:
        ValueError: if the name or the stride is none of these.

    Shape:
        Input (B, 3, H, W); output five maps (B, C_i, h_i, w_i), each half the size of the one before, rounded up,
        until ``output_stride`` is reached.

    Source:
        He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv:1512.03385; He-normal weights
        (fan out) as torchvision draws them. Chen et al., "Rethinking Atrous Convolution for Semantic Image
        Segmentation", arXiv:1706.05587, for the dilations.

    Example:
        >>> import torch
        >>> from depthattn.models.resnet import ResNet
        >>> encoder = ResNet("resnet18")
        >>> [tuple(feature.shape[1:]) for feature in encoder(torch.rand(2, 3, 64, 64))]
        [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    """

    left_out = ("fc",)

    def __init__(self, name: str, *, output_stride: OutputStride = 32) -> None:
        super().__init__()
        if name not in _BLOCKS:
            raise ValueError(f"ResNet: expected name to be one of {', '.join(RESNETS)}, got {name!r}")
        block, counts = _BLOCKS[name]
        stages = dilated("ResNet", (1, 2, 2, 2), 4, output_stride)
        stem, outputs = _WIDTHS[0], [width * block.expansion for width in _WIDTHS]
        self.name = name
        self.output_stride = int(output_stride)
        self.conv1 = nn.Conv2d(3, stem, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        layers = [_layer(block, *parts) for parts in zip((stem, *outputs[:-1]), _WIDTHS, counts, stages, strict=True)]
        self.layer1, self.layer2, self.layer3, self.layer4 = layers
        self.channels = (stem, *outputs)
        self.reductions = (2, *(stage.reduction for stage in stages))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the feature maps.

        Args:
            image: (B, 3, H, W), normalised by ``mean`` and ``std``.

        Returns:
            One map (B, C_i, h_i, w_i) for each of ``channels``, the coarsest last.
        """
        stem = F.relu(self.bn1(self.conv1(image)))
        maps = [stem]
        x = cast(Tensor, self.maxpool(stem))
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)
            maps.append(x)
        return maps


def _layer(
    block: type[BasicBlock] | type[Bottleneck], in_channels: int, width: int, count: int, stage: Stage
) -> nn.Sequential:
    first = block(in_channels, width, stage.stride, (stage.begins, stage.goes_on))
    dilations = (stage.goes_on, stage.goes_on)
    rest = (block(width * block.expansion, width, 1, dilations) for _ in range(count - 1))
    return nn.Sequential(first, *rest)
