"""From sums and counts to a loss, against NumPy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch

from depthattn.ops.backend import load, obstacle_of

BACKENDS = [
    "reference",
    pytest.param("cpu", marks=pytest.mark.skipif(obstacle_of("cpu") is not None, reason=str(obstacle_of("cpu")))),
]


class Options(NamedTuple):
    means: tuple[bool, ...]
    per_image: bool


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("counted", [torch.int64, torch.float64])
@pytest.mark.parametrize("per_image", [False, True])
@pytest.mark.parametrize("batch", [0, 1, 3])
def test_loss_terms_divisors_and_scales(
    backend: str, dtype: torch.dtype, counted: torch.dtype, per_image: bool, batch: int
) -> None:
    generator = torch.Generator().manual_seed(batch)
    sums = torch.rand(3, batch, generator=generator, dtype=torch.float64) * 10
    # Of another layout than the sums, as they may be a part of what was counted.
    counts = torch.randint(1, 9, (batch, 5), generator=generator).to(counted).T[1:4]
    counts[2], sums[2] = 0, 0
    weights = (0.5, torch.tensor(2.0), 3.0)
    # The operators know of a term that has no labels here.
    options = Options((True, False, True, True), per_image)

    reduction = load("reduction", backend)
    loss, terms, divisors, scales = reduction.reduced(sums, counts, weights, options, dtype)

    totals = sums.numpy() if per_image else sums.numpy().sum(1, keepdims=True)
    numbers = counts.double().numpy() if per_image else counts.double().numpy().sum(1, keepdims=True)
    by = np.stack([numbers[0], np.ones_like(numbers[1]), np.ones_like(numbers[2])])
    if not per_image and batch == 0:
        by[0] = 1
    each = totals / by
    weighed = np.array([[0.5], [2.0], [3.0]])
    total = (weighed * each).sum(0)
    tolerance = {"rtol": 1e-6 if dtype == torch.float32 else 1e-14}
    np.testing.assert_allclose(loss.numpy(), total if per_image else total[0], **tolerance)
    np.testing.assert_allclose(terms.numpy(), each if per_image else each[:, 0], **tolerance)
    np.testing.assert_allclose(divisors.numpy(), by, **tolerance)
    np.testing.assert_allclose(scales.numpy(), np.broadcast_to(weighed / by, (3, batch)), **tolerance)
    assert {loss.dtype, terms.dtype, divisors.dtype, scales.dtype} == {dtype}
    torch.testing.assert_close(reduction.scales_for(counts, weights, options, dtype), scales, rtol=0, atol=0)
