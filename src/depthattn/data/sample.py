"""The sample every dataset returns, and the contract of its three fields."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypedDict

import torch

IGNORE_INDEX = -100


class Sample(TypedDict):
    """One frame, a dictionary. All three are always there, so that frames batch.

    Attributes:
        image: float32 (3,H,W), RGB in [0,1].
        depth: float32 (1,H,W) in metres, 0 where it is missing.
        labels: int64 (H,W), -100 where there is none.
    """

    image: torch.Tensor
    depth: torch.Tensor
    labels: torch.Tensor


Transform = Callable[[Sample], Sample]
