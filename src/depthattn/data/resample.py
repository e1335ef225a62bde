"""Maps at another size, by the nearest pixel: neither holes nor edges bleed."""

from __future__ import annotations

from torch import Tensor, arange

Size = tuple[int, int]


def nearest(values: Tensor, size: Size) -> Tensor:
    """``values`` (..., H, W) at ``size``: of each new pixel the one that its middle lies in."""
    height, width = values.shape[-2:]
    rows = ((arange(size[0]) + 0.5) * (height / size[0])).long()
    columns = ((arange(size[1]) + 0.5) * (width / size[1])).long()
    return values[..., rows[:, None], columns]


def same_view(a: Size, b: Size) -> bool:
    """Whether two sizes can be those of one view: one ratio of the sides, but for the rounding of the smaller size."""
    small, large = sorted((a, b))
    if small[0] == large[0] or small[1] == large[1]:
        return small == large
    factors = small[0] / large[0], small[1] / large[1]
    return abs(large[1] * factors[0] - small[1]) <= 1.0 and abs(large[0] * factors[1] - small[0]) <= 1.0
