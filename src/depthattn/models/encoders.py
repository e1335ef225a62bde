"""What SynergyNet asks of an encoder, and the adapter that brings any module to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain

import torch
from torch import Tensor, nn

Colour = tuple[float, float, float]

IMAGENET_MEAN: Colour = (0.485, 0.456, 0.406)
IMAGENET_STD: Colour = (0.229, 0.224, 0.225)

# Divisible by the strides in use (4 to 32, and 14 of the vision transformers), and their usual fixed size.
_PROBE_SIZE = 224


class Encoder(nn.Module):
    """A module that turns an image into a list of feature maps, fine to coarse.

    Attributes:
        channels: channels of each map.
        reductions: stride of each map relative to the image, None where it is not known.
        mean: mean of the red, green and blue of its training images, that of ImageNet by default. SynergyNet passes it
            (image - mean) / std. These are numbers, not buffers, so they are never missing from a state dict.
        std: standard deviation, likewise.
        left_out: top-level names in a file of published weights to ignore, such as that of the classifier; None ignores
            all names without a child of this module.

    Shape:
        Input (B, 3, H, W), normalised; output one (B, C_i, h_i, w_i) for each of ``channels``, the coarsest last.

    Example:
        >>> import torch
        >>> from depthattn import SynergyNet
        >>> from depthattn.models import Encoder
        >>> class Strided(Encoder):
        ...     channels, reductions = (16,), (8,)
        ...     def __init__(self):
        ...         super().__init__()
        ...         self.conv = torch.nn.Conv2d(3, 16, 8, stride=8)
        ...     def forward(self, image):
        ...         return [self.conv(image).relu()]
        >>> model = SynergyNet(Strided(), num_classes=5, decoder_channels=(8, 8))
        >>> model(torch.rand(2, 3, 64, 96)).depth.shape
        torch.Size([2, 1, 64, 96])
    """

    channels: tuple[int, ...]
    reductions: tuple[int | None, ...]
    mean: Colour = IMAGENET_MEAN
    std: Colour = IMAGENET_STD
    left_out: tuple[str, ...] | None = None


class ModuleEncoder(Encoder):
    """Any module that returns feature maps, as an :class:`Encoder`.

    It takes a timm ``features_only`` model, a transformers backbone (its output has ``feature_maps``), and any module
    that returns a tensor, a list or tuple of tensors, or a mapping of them, ordered fine to coarse. Channels and
    strides come from ``feature_info``, as timm has it, or from attributes ``channels`` and ``reductions``; else one
    pass of a grey 224x224 image in eval mode finds them and leaves the module unchanged. The normalisation is that of
    timm's ``pretrained_cfg``, or of attributes ``mean`` and ``std``, or ImageNet's.

    Args:
        module: the encoder; it is not copied.

    Raises:
        ValueError: if the module does not return feature maps.

    Shape:
        Input (B, 3, H, W); output as the module's, (B, C_i, h_i, w_i) each. Maps with the channels last, as timm's
        window transformers return them, are brought to this order.

    Example:
        >>> import torch
        >>> from depthattn.models import ModuleEncoder
        >>> encoder = ModuleEncoder(torch.nn.Conv2d(3, 16, 8, stride=8))
        >>> encoder.channels, encoder.reductions
        ((16,), (8,))
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module
        channels, reductions = _declared(module)
        if channels is None or reductions is None:
            try:
                shapes = _probe(module)
            except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
                if channels is None:
                    raise ValueError(
                        f"SynergyNet: expected an encoder that maps a (1, 3, {_PROBE_SIZE}, {_PROBE_SIZE}) image to "
                        f"feature maps (or has an attribute `channels`), got {type(module).__name__}, which "
                        f"raised {type(error).__name__}: {error}"
                    ) from error
                reductions = (None,) * len(channels)
            else:
                channels = tuple(shape[1] for shape in shapes) if channels is None else channels
                reductions = tuple(_stride(shape) for shape in shapes)
        self.channels = channels
        self.reductions = reductions
        self.mean, self.std = _declared_normalisation(module)

    def forward(self, image: Tensor) -> list[Tensor]:
        """Compute the feature maps.

        Args:
            image: (B, 3, H, W), normalised by ``mean`` and ``std``.

        Returns:
            One map (B, C_i, h_i, w_i) for each of ``channels``, the coarsest last.
        """
        return _maps(self.module(image), self.channels, type(self.module).__name__)


# torch.fx cannot follow the conditions on types and shapes in it; it is one step of a graph that it draws.
@torch.fx.wrap
def _maps(output: object, channels: Sequence[int], name: str) -> list[Tensor]:
    maps = _as_list(output)
    for index, feature in enumerate(maps):
        if feature.dim() != 4:
            raise ValueError(
                f"SynergyNet: expected feature maps (B, C, h, w) from {name}, got map {index} of shape "
                f"{tuple(feature.shape)}"
            )
    if len(maps) != len(channels):
        raise ValueError(f"SynergyNet: expected {len(channels)} feature maps from {name}, got {len(maps)}")
    return [_channels_first(feature, count, name) for feature, count in zip(maps, channels, strict=True)]


def _declared(module: nn.Module) -> tuple[tuple[int, ...] | None, tuple[int | None, ...] | None]:
    info = getattr(module, "feature_info", None)
    if info is not None and callable(getattr(info, "channels", None)):
        return tuple(info.channels()), tuple(info.reduction())
    channels, reductions = getattr(module, "channels", None), getattr(module, "reductions", None)
    return (
        tuple(channels) if isinstance(channels, Sequence) else None,
        tuple(reductions) if isinstance(reductions, Sequence) else None,
    )


def _declared_normalisation(module: nn.Module) -> tuple[Colour, Colour]:
    config = getattr(module, "pretrained_cfg", None)

    def declared(name: str, default: Colour) -> Colour:
        value = config.get(name) if isinstance(config, Mapping) else getattr(module, name, None)
        if not isinstance(value, Sequence) or len(value) != 3:
            return default
        return float(value[0]), float(value[1]), float(value[2])

    return declared("mean", IMAGENET_MEAN), declared("std", IMAGENET_STD)


def _probe(module: nn.Module) -> list[torch.Size]:
    like = next((t for t in chain(module.parameters(), module.buffers()) if t.is_floating_point()), torch.empty(0))
    image = torch.full((1, 3, _PROBE_SIZE, _PROBE_SIZE), 0.5, device=like.device, dtype=like.dtype)
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        with torch.no_grad():
            maps = _as_list(module(image))
    finally:
        for child, training in modes:
            child.training = training
    for feature in maps:
        if feature.dim() != 4:
            raise ValueError(f"expected maps (B, C, h, w), got {tuple(feature.shape)}")
    return [feature.shape for feature in maps]


def _as_list(output: object) -> list[Tensor]:
    output = getattr(output, "feature_maps", output)
    if isinstance(output, Tensor):
        return [output]
    values = list(output.values()) if isinstance(output, Mapping) else output
    if not isinstance(values, (list, tuple)) or not values or not all(isinstance(v, Tensor) for v in values):
        raise TypeError(f"SynergyNet: expected feature maps from the encoder, got {type(output).__name__}")
    return list(values)


def _stride(shape: torch.Size) -> int | None:
    return _PROBE_SIZE // shape[2] if shape[2] == shape[3] and _PROBE_SIZE % shape[2] == 0 else None


def _channels_first(feature: Tensor, channels: int, name: str) -> Tensor:
    if feature.shape[1] == channels:
        return feature
    # timm's window transformers return (B, h, w, C).
    if feature.shape[3] == channels:
        return feature.permute(0, 3, 1, 2)
    raise ValueError(f"SynergyNet: expected a map with {channels} channels from {name}, got {tuple(feature.shape)}")
