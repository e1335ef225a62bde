"""Ranges of colours from the data: percentiles, what counts, and what is taken where there is nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depthattn.viz.ranges import depth_range, error_top


def test_the_range_is_that_of_nearly_all_true_depth() -> None:
    depth = torch.linspace(20.0, 60.0, 1001).view(1, 7, 143)
    low, high = depth_range([depth[:, :3], depth[:, 3:]], [torch.full((1, 4, 4), 1.0)], "sheet")
    assert (low, high) == pytest.approx((20.4, 59.6))


def test_missing_pixels_do_not_count() -> None:
    depth = np.array([[0.0, -1.0, np.nan, np.inf], [3.0, 3.0, 6.0, 6.0]])
    assert depth_range([depth], [], "sheet") == (3.0, 6.0)


def test_predictions_count_where_no_depth_is_known() -> None:
    assert depth_range([np.zeros((2, 2))], [np.array([[2.0, 8.0]])], "sheet") == pytest.approx((2.06, 7.94))


def test_a_flat_map_gets_a_range_all_the_same() -> None:
    assert depth_range([np.full((2, 2), 4.0)], [], "sheet") == (4.0, 6.0)


@pytest.mark.parametrize(("rmse", "top"), [(0.83, 2.0), (0.0213, 0.04), (7.4, 10.0), (0.0, 1.0), (float("nan"), 1.0)])
def test_the_brightest_error_is_twice_the_rmse(rmse: float, top: float) -> None:
    assert error_top(rmse) == top
