"""Inputs of the cases: seeded, shaped like real data, and exact in float32 where a sign decides a gradient.

Depths are multiples of 1/512 m. Sobel sums of such numbers are exact in float32, so the sign of a gradient, and
with it the check of a side, does not hang on rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

Tensors = dict[str, Tensor]

STEPS_PER_METRE = 512
NUM_CLASSES = 40
IGNORE_INDEX = -100
HOLE = 16
REGION = 32
# What a GradScaler starts from: keeps float16 gradients of a mean over millions of pixels out of the subnormals.
LOSS_SCALE = 65536.0


@dataclass(frozen=True)
class Inputs:
    """Tensors by name, the names to differentiate by, and the gradient that arrives at each output."""

    tensors: Tensors
    differentiate: tuple[str, ...]
    cotangents: tuple[Tensor, ...]

    @property
    def leaves(self) -> list[Tensor]:
        return [self.tensors[name] for name in self.differentiate]

    @property
    def nbytes(self) -> int:
        return sum(t.nbytes for t in self.tensors.values()) + sum(t.nbytes for t in self.cotangents)

    def copy(self) -> Inputs:
        """The same values in other memory."""
        tensors = {k: t.detach().clone().requires_grad_(t.requires_grad) for k, t in self.tensors.items()}
        return Inputs(tensors, self.differentiate, tuple(t.clone() for t in self.cotangents))

    def double(self) -> Inputs:
        """The same values in float64; integer tensors stay."""

        def wide(t: Tensor) -> Tensor:
            return t.detach().double().requires_grad_(t.requires_grad) if t.is_floating_point() else t

        return Inputs(
            {k: wide(t) for k, t in self.tensors.items()},
            self.differentiate,
            tuple(t.double() for t in self.cotangents),
        )


class Source:
    """Random tensors on one device, in one dtype, from one seed."""

    def __init__(self, device: torch.device, dtype: torch.dtype, seed: int = 0) -> None:
        self.device = device
        self.dtype = dtype
        self.generator = torch.Generator().manual_seed(seed)

    def place(self, values: Tensor) -> Tensor:
        return values.to(self.device, self.dtype if values.is_floating_point() else None)

    def normal(self, *shape: int) -> Tensor:
        return self.place(torch.randn(shape, generator=self.generator))

    def depth(self, shape: Sequence[int], low: float, high: float) -> Tensor:
        values = torch.rand(tuple(shape), generator=self.generator) * (high - low) + low
        return self.place((values * STEPS_PER_METRE).round_().div_(STEPS_PER_METRE))

    def blocks(self, shape: Sequence[int], side: int, choices: int) -> Tensor:
        """Integers in [0, choices), constant on blocks of ``side`` x ``side`` pixels: (B,H,W)."""
        batch, height, width = shape
        coarse = torch.randint(
            choices, (batch, 1, -(-height // side), -(-width // side)), generator=self.generator
        ).float()
        fine = interpolate(coarse, scale_factor=side, mode="nearest")[:, 0, :height, :width]
        return fine.to(torch.int64).contiguous().to(self.device)

    def target(self, shape: Sequence[int]) -> Tensor:
        """Depth with 10 % of the pixels missing, in patches as a sensor leaves them."""
        hole = self.blocks(shape, HOLE, 10) == 0
        return self.depth(shape, 0.5, 10.0).masked_fill_(hole, 0)

    def labels(self, shape: Sequence[int]) -> Tensor:
        """Regions of 40 classes, 10 % of them without a label."""
        regions = self.blocks(shape, REGION, NUM_CLASSES)
        return regions.masked_fill_(self.blocks(shape, REGION, 10) == 0, IGNORE_INDEX)

    def loss(self, tensors: Tensors, *differentiate: str) -> Inputs:
        """Inputs of a scalar loss."""
        scale = torch.tensor(LOSS_SCALE, device=self.device, dtype=torch.float32)
        return self.layer(tensors, differentiate, (scale,))

    def layer(self, tensors: Tensors, differentiate: Sequence[str], cotangents: Sequence[Tensor]) -> Inputs:
        for name in differentiate:
            tensors[name].requires_grad_()
        return Inputs(tensors, tuple(differentiate), tuple(cotangents))
