"""What labels can ask of depth where all nine pixels of a window are of one class, besides to be flat."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d

LabelTerm = Literal["flat", "planar", "steps"]

# A floor seen from a standing person's height changes by less than this share of its depth from one pixel of the
# decoders' map to the next, up to some 6 m.
_SLOPE = 0.1

_SOBEL = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])
_SECOND = torch.tensor([[1.0, -2.0, 1.0], [2.0, -4.0, 2.0], [1.0, -2.0, 1.0]])


def one_class(labels: Tensor) -> Tensor:
    """True where the nine labels of a window are one class, (B,H,W) -> (B,H-2,W-2); a negative label is no class."""
    windows = labels.unfold(1, 3, 1).unfold(2, 3, 1).flatten(-2)
    return (windows == windows[..., :1]).all(-1) & (windows[..., 0] >= 0)


def planar(depth: Tensor, labels: Tensor) -> Tensor:
    """Mean of the absolute second differences, which are 0 on a slope, over the windows of one class.

    Args:
        depth: metres, (B,1,H,W).
        labels: class numbers, (B,H,W).
    """
    return _mean(_size(depth, _SECOND), one_class(labels))


def steps(depth: Tensor, labels: Tensor) -> Tensor:
    """Mean of what the gradient has beyond a tenth of the depth for each pixel, over the windows of one class.

    Args:
        depth: metres, (B,1,H,W).
        labels: class numbers, (B,H,W).
    """
    # Sobel's filter sees eight times the change from one pixel to the next.
    allowed = 8 * _SLOPE * depth[:, 0, 1:-1, 1:-1].abs()
    return _mean((_size(depth, _SOBEL) - allowed).clamp(min=0), one_class(labels))


def _size(depth: Tensor, across: Tensor) -> Tensor:
    """|filter across| + |filter down| of every window: (B,1,H,W) -> (B,H-2,W-2)."""
    filters = torch.stack((across, across.T))[:, None].to(depth)
    return conv2d(depth, filters).abs().sum(1)


def _mean(values: Tensor, windows: Tensor) -> Tensor:
    return (values * windows).sum() / windows.sum().clamp(min=1)
