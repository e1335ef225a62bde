"""Dilation in the place of stride, as DeepLab does it: a finer coarsest map from the same weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

OutputStride = Literal[8, 16, 32]


class Stage(NamedTuple):
    """How a stage walks over its input.

    Attributes:
        stride: of the convolution with which it begins.
        begins: dilation of that convolution.
        goes_on: dilation of all that come after it.
        reduction: stride of its output relative to the image.
    """

    stride: int
    begins: int
    goes_on: int
    reduction: int


def dilated(name: str, strides: Sequence[int], stem_stride: int, output_stride: int) -> list[Stage]:
    """The stages of a network that ends at ``output_stride``.

    A stride that would go beyond it becomes 1, and what follows reads its input that much further apart: on every
    second pixel the features are those of the network that ends at 32.

    Args:
        name: the class that asks.
        strides: of each stage in the network that ends at 32.
        stem_stride: of what comes before the stages.
        output_stride: 32, 16 or 8.

    Raises:
        ValueError: if ``output_stride`` is none of the three.
    """
    if output_stride not in get_args(OutputStride):
        choices = ", ".join(map(str, get_args(OutputStride)))
        raise ValueError(f"{name}: expected output_stride as one of {choices}, got {output_stride!r}")
    stages, reached, dilation = [], stem_stride, 1
    for stride in strides:
        kept = stride if reached * stride <= output_stride else 1
        reached *= kept
        begins, dilation = dilation, dilation * stride // kept
        stages.append(Stage(kept, begins, dilation, reached))
    return stages
