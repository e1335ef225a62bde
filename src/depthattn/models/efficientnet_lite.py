"""EfficientNet-Lite encoders whose parameters are named as in the published PyTorch weights, less the underscores."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from depthattn.models.dilation import OutputStride, dilated
from depthattn.models.encoders import Encoder

# Of each stage: repeats, kernel size, stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# The stages whose outputs are the maps: the last ones at 2, 4, 8, 16 and 32.
_MAPS = (0, 1, 2, 4, 6)
_STEM_CHANNELS = 32
# Width and depth.
_SCALES = {"efficientnet_lite0": (1.0, 1.0), "efficientnet_lite1": (1.0, 1.1), "efficientnet_lite2": (1.1, 1.2)}
EFFICIENTNETS = tuple(_SCALES)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution and linear 1x1 projection, with a shortcut where the shapes allow one."""

    def __init__(
        self, in_channels: int, out_channels: int, kernel_size: int, stride: int, dilation: int, expansion: int
    ) -> None:
        super().__init__()
        width = in_channels * expansion
        self.expand_conv = nn.Conv2d(in_channels, width, 1, bias=False) if expansion != 1 else None
        self.bn0 = _norm(width) if expansion != 1 else None
        self.depthwise_conv = _conv(width, width, kernel_size, stride=stride, dilation=dilation, groups=width)
        self.bn1 = _norm(width)
        self.project_conv = nn.Conv2d(width, out_channels, 1, bias=False)
        self.bn2 = _norm(out_channels)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        if self.expand_conv is not None and self.bn0 is not None:
            x = F.relu6(self.bn0(self.expand_conv(x)))
        x = F.relu6(self.bn1(_convolved(x, self.depthwise_conv)))
        x = self.bn2(self.project_conv(x))
        return x + shortcut if self.has_shortcut else x


class EfficientNetLite(Encoder):
    """EfficientNet-Lite without its classifier: maps at strides 2, 4, 8, 16 and 32.

    Inverted residuals with ReLU6, without squeeze-and-excitation, and with the padding of TensorFlow, where the
    published weights were trained. The last 1x1 convolution, which belongs to the classifier, is left out, and so is
    stochastic depth.

    Args:
        name: ``"efficientnet_lite0"``, ``"efficientnet_lite1"`` or ``"efficientnet_lite2"``.
        output_stride: stride of the coarsest map, 32, 16 or 8. Below 32 the last one or two halvings become
            dilations, as in DeepLab; the weights are the same.

    Raises:
        ValueError: if the name or the stride is none of these.

    Shape:
        Input (B, 3, H, W), (image - 0.498) / 0.502; output five maps (B, C_i, h_i, w_i), each half the size of the one
        before, rounded up, until ``output_stride`` is reached.

    Source:
        Tan and Le, "EfficientNet", ICML 2019, arXiv:1905.11946, in its Lite variants of 2020 (tensorflow/tpu); Chen et
        al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587, for the dilations.

    Example:
        >>> import torch
        >>> from depthattn.models import EfficientNetLite
        >>> encoder = EfficientNetLite("efficientnet_lite0")
        >>> [tuple(feature.shape[1:]) for feature in encoder(torch.rand(2, 3, 64, 64))]
        [(16, 32, 32), (24, 16, 16), (40, 8, 8), (112, 4, 4), (320, 2, 2)]
        >>> EfficientNetLite("efficientnet_lite0", output_stride=8).reductions
        (2, 4, 8, 8, 8)
    """

    mean = (0.498, 0.498, 0.498)
    std = (0.502, 0.502, 0.502)
    left_out = ("_conv_head", "_bn1", "_fc")

    def __init__(self, name: str, *, output_stride: OutputStride = 32) -> None:
        super().__init__()
        if name not in _SCALES:
            raise ValueError(f"EfficientNetLite: expected name to be one of {', '.join(EFFICIENTNETS)}, got {name!r}")
        self.name = name
        width, depth = _SCALES[name]
        stages = dilated("EfficientNetLite", [stride for _, _, stride, _, _ in _STAGES], 2, output_stride)
        self.output_stride = int(output_stride)
        self.conv_stem = _conv(3, _STEM_CHANNELS, 3, stride=2)
        self.bn0 = _norm(_STEM_CHANNELS)
        self.blocks = nn.ModuleList()
        before, channels, ends = _STEM_CHANNELS, [], []
        for index, ((repeats, kernel_size, _, expansion, plain), stage) in enumerate(zip(_STAGES, stages, strict=True)):
            after = _scaled(plain, width)
            # The first and the last stage have one block at any depth.
            count = repeats if index in (0, len(_STAGES) - 1) else math.ceil(depth * repeats)
            for block in range(count):
                stride, dilation = (stage.stride, stage.begins) if block == 0 else (1, stage.goes_on)
                self.blocks.append(InvertedResidual(before, after, kernel_size, stride, dilation, expansion))
                before = after
            channels.append(after)
            ends.append(len(self.blocks) - 1)
        self.channels = tuple(channels[index] for index in _MAPS)
        self.reductions = tuple(stages[index].reduction for index in _MAPS)
        self._ends = frozenset(ends[index] for index in _MAPS)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                # He-normal, fan out; torch counts the outputs of all groups.
                fan_out = module.out_channels * math.prod(module.kernel_size) // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2.0 / fan_out))

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the feature maps.

        Args:
            image: (B, 3, H, W), normalised by ``mean`` and ``std``.

        Returns:
            One map (B, C_i, h_i, w_i) for each of ``channels``, the coarsest last.
        """
        x = F.relu6(self.bn0(_convolved(image, self.conv_stem)))
        maps = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in self._ends:
                maps.append(x)
        return maps


def _norm(channels: int) -> nn.BatchNorm2d:
    # TensorFlow's epsilon, with which the published weights were trained.
    return nn.BatchNorm2d(channels, eps=1e-3)


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, *, stride: int, dilation: int = 1, groups: int = 1
) -> nn.Conv2d:
    padding = 0 if stride == 2 else dilation * (kernel_size // 2)
    return nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, dilation=dilation, groups=groups, bias=False
    )


def _convolved(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """``conv(x)``, padded as TensorFlow pads: a stride of 2 begins one pixel later where the size is even."""
    if conv.stride[0] == 2:
        after = conv.kernel_size[0] // 2
        # 1 where the size is odd, in terms from which torch.export sees that the result is half of it, rounded up.
        odd_rows, odd_columns = (2 * ((side + 1) // 2) - side for side in (x.shape[-2], x.shape[-1]))
        x = F.pad(x, (after - 1 + odd_columns, after, after - 1 + odd_rows, after))
    return conv(x)  # type: ignore[no-any-return]  # Module.__call__ is untyped


def _scaled(channels: int, width: float) -> int:
    """The multiple of 8 next to ``channels * width``, and not below 90 % of it."""
    wanted = channels * width
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * wanted else rounded + 8
