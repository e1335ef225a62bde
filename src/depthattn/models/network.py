"""The network of SynergyNet: an encoder and two decoders that share."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any, Literal, NamedTuple, TypeVar, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from depthattn.layers.lateral_sharing import LateralSharingUnit
from depthattn.layers.semi_dense_up_skip import SemiDenseUpSkip
from depthattn.layers.up_projection import UpProjection, is_symbolic
from depthattn.models.dilation import OutputStride
from depthattn.models.encoders import Colour, Encoder
from depthattn.models.heads import DepthHead
from depthattn.models.registry import build_encoder
from depthattn.ops import checks
from depthattn.ops.tracing import traced_quietly

Sharing = Literal["scalar", "channel"]
UpsampleSemantics = Literal["always", "eval"]

_MIN_SIZE = 32

NetworkT = TypeVar("NetworkT", bound="SynergyNetwork")


class SynergyOutput(NamedTuple):
    """What SynergyNet predicts.

    Attributes:
        depth: (B, 1, H, W), metres, > 0; float32 at least.
        semantics: (B, K, H, W), logits; in training mode with ``upsample_semantics="eval"`` (B, K, h, w), the
            decoder's own size.
    """

    depth: Tensor
    semantics: Tensor


# By this name torch.export.save writes what a program returns.
pytree._register_namedtuple(SynergyOutput, serialized_type_name="depthattn.models.SynergyOutput")


class _Decoder(nn.Module):
    """The up-projections, the skips from the encoder, the semi-dense up-skip and the head of one task.

    Args:
        channels: of the decoder's input and of the output of each up-projection.
        skips: of each up-projection, the number and the channels of the encoder's map that joins its output, or None.
        head: from the last level to the prediction.
        up_skip: whether there is a semi-dense up-skip.
    """

    def __init__(
        self, channels: Sequence[int], skips: Sequence[tuple[int, int] | None], head: nn.Module, *, up_skip: bool
    ) -> None:
        super().__init__()
        self.up_projections = nn.ModuleList(UpProjection(before, after) for before, after in pairwise(channels))
        self.skip_maps = tuple(None if skip is None else skip[0] for skip in skips)
        self.skips = nn.ModuleList(
            nn.Identity() if skip is None else _projection(skip[1], width)
            for skip, width in zip(skips, channels[1:], strict=True)
        )
        self.up_skip = SemiDenseUpSkip(channels, channels[-1]) if up_skip else None
        # The up-skip ends in a convolution; without a nonlinearity the head would only be a second factor of it.
        self.up_skip_norm = nn.BatchNorm2d(channels[-1]) if up_skip else None
        self.head = head

    def up(self, level: int, x: Tensor, size: tuple[int, int], maps: Sequence[Tensor]) -> Tensor:
        """The output of one up-projection, with the encoder's map of its size added."""
        x = self.up_projections[level](x, size)
        index = self.skip_maps[level]
        return x if index is None else x + _resize(self.skips[level](maps[index]), size)

    def finish(self, features: Sequence[Tensor], last: Tensor) -> Tensor:
        """Predict from the decoder's input and the outputs of its up-projections; ``last`` is the decoded map."""
        if self.up_skip is not None and self.up_skip_norm is not None:
            last = F.relu(self.up_skip_norm(self.up_skip(features, size=(last.shape[-2], last.shape[-1]))))
        return self.head(last)  # type: ignore[no-any-return]  # Module.__call__ is untyped


class SynergyNetwork(nn.Module):
    """What SynergyNet computes; :class:`~depthattn.SynergyNet` documents it and takes it in and out of files."""

    def __init__(
        self,
        encoder: str | nn.Module = "resnet50",
        num_classes: int = 40,
        *,
        decoder_channels: Sequence[int] = (512, 256, 128, 64),
        sharing: Sharing | None = "scalar",
        up_skip: bool = True,
        encoder_skips: bool = False,
        upsample_semantics: UpsampleSemantics = "always",
        output_stride: OutputStride = 32,
        encoder_weights: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        widths = _check_options(
            num_classes, decoder_channels, sharing, upsample_semantics, up_skip=up_skip, encoder_skips=encoder_skips
        )
        # NumPy's numbers are none of JSON's.
        self.num_classes = num_classes = int(num_classes)
        up_skip, encoder_skips = bool(up_skip), bool(encoder_skips)
        self.class_names: tuple[str, ...] = ()
        self.image_size: tuple[int, int] | None = None
        self.upsample_semantics = upsample_semantics
        self.encoder = build_encoder(encoder, encoder_weights, output_stride=output_stride)
        self.config: dict[str, Any] = {
            "encoder": encoder if isinstance(encoder, str) else None,
            "num_classes": num_classes,
            "decoder_channels": list(widths),
            "sharing": sharing,
            "up_skip": up_skip,
            "encoder_skips": encoder_skips,
            "upsample_semantics": upsample_semantics,
            "output_stride": int(output_stride),
        }
        in_channels = self.encoder.channels[-1]
        neck_channels = max(1, min(in_channels // 2, 2 * widths[0]))
        self.neck = nn.Sequential(*_projection(in_channels, neck_channels), nn.ReLU())

        channels = (neck_channels, *widths)
        label_head = nn.Conv2d(widths[-1], num_classes, 3, padding=1)
        # Small, so that training starts from even class probabilities.
        nn.init.normal_(label_head.weight, std=0.01)
        nn.init.zeros_(label_head.bias)  # type: ignore[arg-type]  # a Conv2d made with its default bias has one
        skips = _skips(self.encoder, len(widths)) if encoder_skips else [None] * len(widths)
        self.depth_decoder = _Decoder(channels, skips, DepthHead(widths[-1]), up_skip=up_skip)
        self.semantic_decoder = _Decoder(channels, skips, label_head, up_skip=up_skip)
        self.sharing_units = nn.ModuleList(
            []
            if sharing is None
            else [LateralSharingUnit(2, channels=(width, width), gate=sharing) for width in widths[:-1]]
        )

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the weights."""
        return self.neck[0].weight.dtype  # type: ignore[return-value]  # of a Module every attribute may be a Module

    @traced_quietly
    def forward(self, image: Tensor) -> SynergyOutput:
        """Predict depth and semantic logits.

        Args:
            image: (B, 3, H, W), RGB in [0, 1], H and W >= 32. It is normalised for the encoder here.

        Returns:
            Depth in metres and logits, both at the size of the image; see :class:`~depthattn.models.SynergyOutput`.
        """
        image = checks.plain(image)
        maps = self.encode(image)
        size = (image.shape[-2], image.shape[-1])
        depth, semantics = self.decode(maps, size)
        if self.upsample_semantics == "always" or not self.training:
            semantics = _resize(semantics, size)
        return SynergyOutput(_resize(depth, size), semantics)

    def encode(self, image: Tensor) -> list[Tensor]:
        """Compute the feature maps that :meth:`decode` starts from.

        Args:
            image: (B, 3, H, W), RGB in [0, 1], as for :meth:`forward`.

        Returns:
            The encoder's maps (B, C_i, h_i, w_i), fine to coarse.
        """
        maps: list[Tensor] = self.encoder(
            _normalised(checks.plain(image), self.encoder.mean, self.encoder.std, self._encoder_dtype())
        )
        return maps

    def _encoder_dtype(self) -> torch.dtype:
        """That of its weights: while they run, FSDP holds encoder and decoders in dtypes of their own."""
        # The compiler of PyTorch 2.6 knows this loop, but not next() with a default.
        for parameter in self.encoder.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
        return self.dtype

    def decode(self, maps: Sequence[Tensor], image_size: tuple[int, int]) -> SynergyOutput:
        """Predict from the maps of :meth:`encode`, which may come from an earlier call, without the last resize.

        Args:
            maps: feature maps of :meth:`encode`; without ``encoder_skips`` the coarsest one, (B, C, h, w), is enough.
            image_size: (H, W) of the image.

        Returns:
            Depth and logits at the size of the decoders' last level.
        """
        x = self.neck(maps[-1])

        depth = labels = x
        depth_features, label_features = [x], [x]
        for level in range(len(self.depth_decoder.up_projections)):
            level_size = _level_size(image_size, level + 1, depth, self.encoder.reductions[-1])
            depth = self.depth_decoder.up(level, depth, level_size, maps)
            labels = self.semantic_decoder.up(level, labels, level_size, maps)
            depth_features.append(depth)
            label_features.append(labels)
            if level < len(self.sharing_units):
                depth, labels = self.sharing_units[level](depth, labels)
        return SynergyOutput(
            self.depth_decoder.finish(depth_features, depth), self.semantic_decoder.finish(label_features, labels)
        )


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """A 1x1 convolution and a batch norm."""
    projection = nn.Conv2d(in_channels, out_channels, 1, bias=False)
    nn.init.kaiming_normal_(projection.weight, nonlinearity="relu")
    return nn.Sequential(projection, nn.BatchNorm2d(out_channels))


def _skips(encoder: Encoder, levels: int) -> list[tuple[int, int] | None]:
    """For each level of a decoder the number and the channels of the encoder's last map of its stride, or None."""
    *finer, coarsest = encoder.reductions
    at = {None if stride is None else float(stride): index for index, stride in enumerate(finer)}
    found = [None if coarsest is None else at.get(coarsest / 2 ** (level + 1)) for level in range(levels)]
    if all(index is None for index in found):
        raise ValueError(
            f"SynergyNet: expected an encoder with a map of the stride of a decoder level for encoder_skips=True, got "
            f"strides {encoder.reductions} and {levels} levels"
        )
    return [None if index is None else (index, encoder.channels[index]) for index in found]


# torch.fx cannot follow the conditions on values and shapes in these; they are one step each of a graph that it draws.
@torch.fx.wrap
def _normalised(image: Tensor, mean: Colour, std: Colour, dtype: torch.dtype) -> Tensor:
    _check_image(image)
    wide = image.to(torch.promote_types(image.dtype, dtype))
    # Made where the image is, as a copy from the CPU would wait for the device; in float32, as others round them.
    centre, scale = (
        torch.cat([wide.new_full((1, 1, 1), value, dtype=torch.float32) for value in values]) for values in (mean, std)
    )
    return ((wide - centre) / scale).to(dtype)


@torch.fx.wrap
def _level_size(image_size: tuple[int, int], level: int, x: Tensor, stride: int | None) -> tuple[int, int]:
    # An encoder that rounds up covers more than the image. Each level drops what lies outside, or the final
    # resize would squeeze features against the image by up to a stride.
    full = (2 * x.shape[-2], 2 * x.shape[-1])
    if stride is None:
        return full
    # Rounded up without a negative number: ONNX divides towards zero, Python downwards.
    inside = tuple((side * 2**level + stride - 1) // stride for side in image_size)
    # Inside comes first: torch.jit.trace keeps the answer, and at a multiple of the stride the two are equal.
    return min(inside[0], full[0]), min(inside[1], full[1])


@torch.fx.wrap
def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    # Of sizes that torch.export leaves open, no comparison may be asked: its answer would become a condition.
    if not is_symbolic(size) and x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _check_options(
    num_classes: int,
    decoder_channels: Sequence[int],
    sharing: str | None,
    upsample_semantics: str,
    **switches: bool,
) -> tuple[int, ...]:
    checks.check_index("SynergyNet", "num_classes", num_classes)
    checks.check_number("SynergyNet", "num_classes", num_classes, at_least=1)
    for name, value in switches.items():
        checks.check_bool("SynergyNet", name, value)
    widths = tuple(decoder_channels)
    if not widths or not all(isinstance(w, Integral) and not isinstance(w, bool) and w >= 1 for w in widths):
        raise ValueError(f"SynergyNet: expected decoder_channels to be positive integers, got {decoder_channels!r}")
    if sharing is not None and sharing not in get_args(Sharing):
        raise ValueError(f"SynergyNet: expected sharing to be 'scalar', 'channel' or None, got {sharing!r}")
    checks.check_choice("SynergyNet", "upsample_semantics", upsample_semantics, get_args(UpsampleSemantics))
    return tuple(int(width) for width in widths)


def _check_image(image: Tensor) -> None:
    if not isinstance(image, Tensor):
        raise TypeError(f"SynergyNet: expected image to be a Tensor, got {type(image).__name__}")
    if image.dim() != 4 or image.shape[1] != 3:
        raise ValueError(f"SynergyNet: expected image of shape (B, 3, H, W), got {tuple(image.shape)}")
    if not image.is_floating_point():
        raise TypeError(f"SynergyNet: expected image in floating point, RGB in [0, 1], got {image.dtype}")
    if image.shape[-2] < _MIN_SIZE or image.shape[-1] < _MIN_SIZE:
        raise ValueError(f"SynergyNet: expected H and W >= {_MIN_SIZE}, got {image.shape[-2]}x{image.shape[-1]}")
