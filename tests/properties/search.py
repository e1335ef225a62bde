"""What hypothesis searches over, and how many examples of each operation it tried."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from hypothesis import settings
from hypothesis import strategies as st
from torch import Tensor

EXAMPLES: Counter[str] = Counter()


def searching(operation: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Count the examples of a test, put under ``given``, for ``operation``."""

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def counted(*arguments: Any, **options: Any) -> None:
            EXAMPLES[operation] += 1
            test(*arguments, **options)

        return counted

    return decorate


def fewer(times: int) -> settings:
    """Settings for a test whose examples take ``times`` as long as others."""
    return settings(max_examples=max(settings.default.max_examples // times, 1))


seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 9)
layouts = st.sampled_from(["contiguous", "transposed", "every second"])
reductions = st.sampled_from(["mean", "per_image", "sum", "none"])
gammas = st.sampled_from([0.0, 0.5, 1.0, 2.0, 5.0])

# Metres, with the places where the formula bends: zero, next to nothing, around one metre, far.
_BENDS = [0.0, -1.0, 1e-300, 1e-8, 0.5, 1.0 - 2**-53, 1.0, 1.0 + 2**-52, 2.0, 1e30]
_MISSING = [0.0, -0.0, -1.0, float("nan"), float("inf"), float("-inf")]
depths = st.sampled_from(_BENDS)
# Nearer than 1e-290 m, the smallest number that stands for a logarithm of 0 shows in lambda.
targets = st.sampled_from([*(max(bend, 1e-290) if bend > 0 else bend for bend in _BENDS), *_MISSING])


def uniform(seed: int, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(*shape, generator=generator, dtype=torch.float64) * (high - low) + low


def sprinkled(x: Tensor, values: Sequence[float], seed: int) -> Tensor:
    """``x`` with ``values`` at places of its own."""
    if x.numel():
        places = torch.randint(x.numel(), (len(values),), generator=torch.Generator().manual_seed(seed))
        x.view(-1)[places] = torch.tensor(values, dtype=x.dtype)
    return x


def laid_out(x: Tensor, layout: str) -> Tensor:
    """The same values in other strides; "every second" leaves NaN, or a number of no class, between them."""
    if layout == "contiguous":
        return x.contiguous()
    if layout == "transposed":
        order = tuple(reversed(range(x.ndim)))
        return x.permute(order).contiguous().permute(order)
    host = x.new_full(tuple(2 * n for n in x.shape), torch.nan if x.is_floating_point() else 77)
    return host[tuple(slice(None, None, 2) for _ in x.shape)].copy_(x)


class DepthMaps(NamedTuple):
    """Prediction and target (B,H,W) in metres, what the target's holes are, and a mask or None."""

    pred: Tensor
    target: Tensor
    mask: Tensor | None

    @property
    def valid(self) -> Tensor:
        valid = self.target.isfinite() & (self.target > 0)
        return valid if self.mask is None else valid & self.mask

    def numpy(self) -> tuple[Any, Any, Any]:
        return self.pred.numpy(), self.target.numpy(), None if self.mask is None else self.mask.numpy()


@st.composite
def depth_maps(draw: st.DrawFn, smallest: int = 1, extremes: bool = True) -> DepthMaps:
    """Maps with bends and holes in them, and junk predicted where no pixel counts."""
    shape = draw(st.tuples(st.integers(1, 3), *(st.integers(smallest, 9),) * 2))
    seed = draw(seeds)
    target = uniform(seed, *shape, low=0.3, high=9)
    pred = uniform(seed + 1, *shape, low=-0.5, high=9)
    if extremes:
        target = sprinkled(target, draw(st.lists(targets, max_size=6)), seed)
        pred = sprinkled(pred, draw(st.lists(depths, max_size=6)), seed + 1)
    kind = draw(st.sampled_from(["none", "all", "some", "one", "nothing"]))
    mask = {
        "none": None,
        "all": torch.ones(shape, dtype=torch.bool),
        "some": uniform(seed + 2, *shape) < 0.6,
        "one": torch.arange(target.numel()).view(shape) == seed % target.numel(),
        "nothing": torch.zeros(shape, dtype=torch.bool),
    }[kind]
    maps = DepthMaps(pred, target, mask)
    junk = draw(st.sampled_from([0.0, 1e30, float("nan"), float("inf"), float("-inf")]))
    return maps._replace(pred=torch.where(maps.valid, pred, junk))


def order_of(count: int, seed: int) -> Tensor:
    return torch.randperm(count, generator=torch.Generator().manual_seed(seed))


def close(ours: Tensor, wanted: Any, scale: float = 1.0) -> None:
    """Equal but for the rounding of float64 in numbers as large as ``scale``; NaN and infinities in the same places."""
    np.testing.assert_allclose(ours.detach().numpy(), np.asarray(wanted), rtol=1e-9, atol=1e-12 * max(scale, 1.0))


def gradient(loss: Tensor, x: Tensor) -> Tensor:
    return torch.autograd.grad(loss.sum(), x)[0]
