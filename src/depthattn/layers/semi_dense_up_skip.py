"""Semi-dense up-skip connections: every level of a decoder reaches its last one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from depthattn.functional import semi_dense_up_skip
from depthattn.ops import checks, feature_checks
from depthattn.ops.tracing import traced_quietly

# torch.fx cannot follow the conditions on shapes and dtypes in it; it is one step of a graph that it draws.
torch.fx.wrap("semi_dense_up_skip")


class SemiDenseUpSkip(nn.Module):
    r"""Semi-dense up-skip (SUC): features of all decoder levels at one size and width, added up and smoothed.

    .. math:: f_{out} = S\Big(\sum_{j=0}^{n} \mathrm{resize}(P_j(f_j))\Big)

    :math:`P_j` is a convolution to the common number of channels, at the size of the level: a 1x1 convolution commutes
    with resizing, and there are fewer pixels before it. :math:`S` is a 3x3 convolution at the final size.

    Args:
        in_channels: channels of each level, in the order in which ``forward`` gets them.
        out_channels: channels of the result.
        kernel_size: size of the projections :math:`P_j`, odd.
        mode: ``"bilinear"`` or ``"nearest"``.
        align_corners: for ``"bilinear"``, as in :func:`torch.nn.functional.interpolate`.

    Attributes:
        projections: the convolutions :math:`P_j`, a ``ModuleList`` with one ``Conv2d`` per level.
        smooth: the convolution :math:`S`.

    Shape:
        ``features``: one (B,C_j,h_j,w_j) per level, of any sizes. ``size``: (H, W) of the result; None takes the
        largest level's. Returns (B,out_channels,H,W).

    Raises:
        ValueError: if an option value does not fit, or the features fit neither each other nor the options.
        TypeError: if a feature is not a floating-point tensor.

    Gradient:
        To every level and to the convolutions; resizing and adding are linear.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, semi-dense up-skip connections.

    Example:
        >>> import torch
        >>> from depthattn import SemiDenseUpSkip
        >>> skip = SemiDenseUpSkip([64, 32, 16], out_channels=16)
        >>> coarse, middle = torch.randn(1, 64, 4, 5), torch.randn(1, 32, 8, 10)
        >>> fine = torch.randn(1, 16, 16, 20)
        >>> tuple(skip([coarse, middle, fine]).shape)
        (1, 16, 16, 20)
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        out_channels: int,
        *,
        kernel_size: int = 1,
        mode: str = "bilinear",
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.mode, self.align_corners = feature_checks.resize_options(name, mode, align_corners)
        checks.check_index(name, "kernel_size", kernel_size)
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"{name}: expected an odd kernel_size >= 1, got {kernel_size}")
        if isinstance(in_channels, str) or not isinstance(in_channels, Sequence):
            raise TypeError(f"{name}: expected in_channels as one int per level, got {in_channels!r}")
        if not in_channels:
            raise ValueError(f"{name}: expected the channels of at least one level, got none")
        named = {f"in_channels[{level}]": channels for level, channels in enumerate(in_channels)}
        for argument, channels in {**named, "out_channels": out_channels}.items():
            checks.check_index(name, argument, channels)
            checks.check_number(name, argument, channels, at_least=1)
        self.in_channels = tuple(int(channels) for channels in in_channels)
        self.out_channels = int(out_channels)
        self.kernel_size = int(kernel_size)
        self.projections = nn.ModuleList(
            nn.Conv2d(channels, self.out_channels, self.kernel_size, padding=self.kernel_size // 2)
            for channels in self.in_channels
        )
        self.smooth = nn.Conv2d(self.out_channels, self.out_channels, 3, padding=1)

    @traced_quietly
    def forward(self, features: Sequence[Tensor], size: Sequence[int] | None = None) -> Tensor:
        """Merge the features of all levels.

        Args:
            features: one map (B,C_j,h_j,w_j) per level, in the order of ``in_channels``, of any sizes.
            size: (H, W) of the result in pixels; None takes the size of the largest level.

        Returns:
            The merged map (B,out_channels,H,W).
        """
        name = type(self).__name__
        _check_number(name, features, self.in_channels)
        features = [checks.plain(features[level]) for level in range(len(self.in_channels))]
        _check_features(name, features, self.in_channels)
        projected = [project(feature) for project, feature in zip(self.projections, features, strict=True)]
        size = _size_of_result(features, size)
        merged: Tensor = self.smooth(
            semi_dense_up_skip(projected, size, mode=self.mode, align_corners=self.align_corners)
        )
        return merged

    def extra_repr(self) -> str:
        return (
            f"in_channels={self.in_channels}, out_channels={self.out_channels}, "
            f"kernel_size={self.kernel_size}, mode={self.mode!r}, align_corners={self.align_corners}"
        )


@torch.fx.wrap
def _check_number(name: str, features: Sequence[Tensor], in_channels: tuple[int, ...]) -> None:
    if len(features) != len(in_channels):
        raise ValueError(f"{name}: expected {len(in_channels)} features, got {len(features)}")


@torch.fx.wrap
def _check_features(name: str, features: Sequence[Tensor], in_channels: tuple[int, ...]) -> None:
    for level, (feature, channels) in enumerate(zip(features, in_channels, strict=True)):
        checks.check_float(name, f"features[{level}]", feature)
        if feature.ndim != 4 or feature.shape[1] != channels:
            raise ValueError(
                f"{name}: expected features[{level}] of shape (B,{channels},h,w), got {checks.shape_of(feature)}"
            )


@torch.fx.wrap
def _size_of_result(features: Sequence[Tensor], size: Sequence[int] | None) -> Sequence[int]:
    if size is not None:
        return size
    # A loop, because torch.compile cannot trace max with a key.
    size = features[0].shape[2:]
    for feature in features[1:]:
        if feature.shape[2] * feature.shape[3] > size[0] * size[1]:
            size = feature.shape[2:]
    return size
