"""Bars of errors and of pixels."""

from __future__ import annotations

import math

import pytest

from depthattn.viz import plot_depth_bins


def test_bars_have_the_errors_and_the_shares_of_pixels() -> None:
    figure = plot_depth_bins([0, 1, 3, 7], [0.25, 0.5, math.nan], [60, 40, 0], reference=[1.0, 0.5, math.nan])
    upper, lower = figure.axes
    assert [(bar.get_x() + bar.get_width() / 2, bar.get_height()) for bar in upper.patches[:2]] == [
        (pytest.approx(0.5), 0.25), (pytest.approx(2.0), 0.5),
    ]  # fmt: skip
    assert math.isnan(upper.patches[2].get_height())
    assert [bar.get_height() for bar in lower.patches] == [60, 40, 0]
    assert lower.get_xlim() == (0, 7)
    assert [text.get_text() for text in upper.get_legend().get_texts()] == ["best constant", "model"]
    assert upper.get_ylabel() == "RMSE in m"


def test_numbers_that_do_not_fit_together() -> None:
    with pytest.raises(ValueError, match="got 2 edges, 2 errors, 2 pixels and 0 references"):
        plot_depth_bins([0, 1], [0.1, 0.2], [1, 2])


def test_no_pixel_at_all() -> None:
    with pytest.raises(ValueError, match="expected ranges with pixels, got none"):
        plot_depth_bins([0, 1], [math.nan], [0])
