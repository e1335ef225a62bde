"""The last layer of the depth decoder."""

from __future__ import annotations

import contextlib
import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from depthattn.ops.masking import compute_dtype

# The smallest depth that is ever predicted, in metres: softplus alone underflows to zero, and metrics take logs.
_MIN_DEPTH = 1e-3
# Near the mean depth of a room, so that training does not begin by moving a constant.
_INITIAL_DEPTH = 2.5


class DepthHead(nn.Module):
    r"""A 3x3 convolution whose output is a depth in metres: ``softplus(z) + 0.001``.

    Softplus is close to the identity above a metre, so that a loss in metres sees a linear regression there and its
    gradient neither grows with the depth, as that of an exponential does, nor dies at far pixels, as that of a sigmoid
    over the depth range does; and it needs no largest depth. The computation is in float32 at least, under autocast
    too: bfloat16 has steps of 3 cm at 5 m.

    Args:
        in_channels: channels of the features.

    Shape:
        Input (B, in_channels, h, w); output (B, 1, h, w), float32 (float64 for float64 features).
    """

    def __init__(self, in_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 1, 3, padding=1)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.constant_(self.conv.bias, math.log(math.expm1(_INITIAL_DEPTH - _MIN_DEPTH)))  # type: ignore[arg-type]  # a Conv2d made with its default bias has one

    def forward(self, features: Tensor) -> Tensor:
        return _depth(features, self.conv.weight, self.conv.bias)


# torch.fx cannot follow the conditions on a device; this is one step of a graph that it draws.
@torch.fx.wrap
def _depth(features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    dtype = compute_dtype(features)
    device = features.device.type
    full_precision = (
        torch.autocast(device, enabled=False)
        if not features.is_meta and torch.is_autocast_enabled(device)
        else contextlib.nullcontext()
    )
    with full_precision:
        z = F.conv2d(features.to(dtype), weight.to(dtype), None if bias is None else bias.to(dtype), padding=1)
        return F.softplus(z) + _MIN_DEPTH
