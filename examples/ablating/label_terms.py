"""What labels can ask of depth where all nine pixels of a window are of one class, besides to be flat."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import conv2d

from depthattn.ops.joint_gradient.reference import class_windows, sobel_l1

LabelTerm = Literal["flat", "planar", "steps"]

# A floor seen from a standing person's height changes by less than this share of its depth from one pixel of the
# decoders' map to the next, up to some 6 m.
_SLOPE = 0.1

_IGNORED = -100
_SECOND = torch.tensor([[1.0, -2.0, 1.0], [2.0, -4.0, 2.0], [1.0, -2.0, 1.0]])


def planar(depth: Tensor, labels: Tensor) -> Tensor:
    """Mean of the absolute second differences, which are 0 on a slope, over the windows of one class.

    Args:
        depth: metres, (B,1,H,W).
        labels: class numbers, (B,H,W).
    """
    filters = torch.stack((_SECOND, _SECOND.T))[:, None].to(depth)
    return _mean(conv2d(depth, filters).abs().sum(1), class_windows(labels, _IGNORED))


def steps(depth: Tensor, labels: Tensor) -> Tensor:
    """Mean of what the gradient has beyond a tenth of the depth for each pixel, over the windows of one class.

    Args:
        depth: metres, (B,1,H,W).
        labels: class numbers, (B,H,W).
    """
    # Sobel's filter sees eight times the change from one pixel to the next.
    allowed = 8 * _SLOPE * depth[:, 0, 1:-1, 1:-1].abs()
    windows = class_windows(labels, _IGNORED)
    return _mean((sobel_l1(depth[:, 0], windows) - allowed).clamp(min=0), windows)


def _mean(values: Tensor, windows: Tensor) -> Tensor:
    return (values * windows).sum() / windows.sum().clamp(min=1)
