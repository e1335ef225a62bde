"""Sums in integers against Python's fractions."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from depthattn.metrics.exact import exact_count, exact_square_sums, exact_sums, totals


def numbers(seed: int = 0, count: int = 500) -> torch.Tensor:
    """Of all sizes and both signs, with zeros, the largest, the smallest, and pairs that cancel."""
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=count) * 2.0 ** rng.integers(-140, 120, count)).astype(np.float32)
    extremes = np.array([0.0, -0.0, 3.4e38, -3.4e38, 1e-45, -1e-45, 1e-38, 1.0], dtype=np.float32)
    return torch.from_numpy(np.concatenate([values, extremes, -values[: count // 2]]))


def exactly(values: torch.Tensor) -> Fraction:
    return sum((Fraction(value) for value in values.tolist()), Fraction(0))


def test_sums_are_rounded_once() -> None:
    values = numbers()
    assert totals(exact_sums(values))[0] == float(exactly(values))
    small = values[values.abs() < 1]
    assert totals(exact_sums(small))[0] == float(exactly(small))


def test_order_and_parts_do_not_matter() -> None:
    values = numbers(1)
    order = torch.randperm(len(values), generator=torch.Generator().manual_seed(0))
    whole = exact_sums(values)
    assert torch.equal(exact_sums(values[order]), whole)
    assert torch.equal(exact_sums(values[:77]) + exact_sums(values[77:]), whole)


def test_groups() -> None:
    values = numbers(2)
    groups = torch.randint(0, 4, values.shape, generator=torch.Generator().manual_seed(0))
    found = totals(exact_sums(values, groups, 5))
    assert found.tolist() == [float(exactly(values[groups == group])) for group in range(5)]


def test_float64_is_taken_apart() -> None:
    values = torch.from_numpy(np.random.default_rng(3).normal(size=300))
    assert totals(exact_sums(values))[0] == pytest.approx(math.fsum(values.tolist()), rel=1e-15)
    squares = math.fsum(value * value for value in values.tolist())
    assert totals(exact_square_sums(values))[0] == pytest.approx(squares, rel=1e-15)


def test_squares_are_not_rounded() -> None:
    values = torch.from_numpy(np.random.default_rng(4).normal(size=300).astype(np.float32))
    squares = sum((Fraction(value) ** 2 for value in values.tolist()), Fraction(0))
    assert totals(exact_square_sums(values))[0] == float(squares)


def test_counts() -> None:
    counts = torch.tensor([[0, 1], [7, 2**35 + 1]])
    assert totals(exact_count(counts)).tolist() == counts.tolist()
    assert torch.equal(exact_count(torch.tensor(3)), exact_sums(torch.ones(3))[0])


@pytest.mark.parametrize("value", [math.nan, -math.nan, math.inf, -math.inf])
def test_what_is_not_finite_shows_in_its_group_only(value: float) -> None:
    found = totals(exact_sums(torch.tensor([1.0, value, 2.0, value]), torch.tensor([0, 1, 0, 1]), 2))
    assert found[0] == 3.0
    assert np.isnan(found[1])


def test_layouts() -> None:
    values = torch.rand(6, 8)
    expected = exact_sums(values)
    for same in (values.t(), values.t().contiguous(), values[:, ::2]):
        whole = exact_sums(same) + (exact_sums(values[:, 1::2]) if same.shape == (6, 4) else 0)
        assert torch.equal(whole, expected)
    assert exact_sums(torch.empty(0)).eq(0).all()


def test_so_many_that_halves_of_int32_would_overflow() -> None:
    values = torch.full((3 * 2**19 + 5,), torch.finfo(torch.float32).max / 2**110)
    values[::2] = 1.0 - 2.0**-24
    expected = sum(
        Fraction(float(value)) * count for value, count in zip(*np.unique(values, return_counts=True), strict=True)
    )
    assert totals(exact_sums(values))[0] == float(expected)
