"""Counts, quantiles and the drawn tail, against NumPy and against cases by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from depthattn.viz import DepthHistogram, plot_depth_histogram


def test_counts_by_hand() -> None:
    depth = torch.tensor([[0.0, 0.9, 1.0, 1.9], [4.0, 4.1, math.nan, math.inf], [-1.0, 3.0, 0.5, 2.0]])
    histogram = DepthHistogram.of(depth, max_depth=4.0, bins=4)
    assert histogram.edges.tolist() == [0, 1, 2, 3, 4]
    assert histogram.counts.tolist() == [2, 2, 1, 2]
    assert (histogram.beyond, histogram.missing, histogram.measured) == (1, 4, 8)


def test_histograms_add_up_to_that_of_all_pixels() -> None:
    depth = np.random.default_rng(0).gamma(3.0, 1.2, (6, 20, 30))
    depth[depth < 1] = 0
    parts = [DepthHistogram.of(frame, max_depth=6.0, bins=50) for frame in depth]
    joined, whole = sum(parts[1:], parts[0]), DepthHistogram.of(depth, max_depth=6.0, bins=50)
    assert joined.counts.tolist() == whole.counts.tolist()
    assert (joined.beyond, joined.missing) == (np.sum(depth > 6), np.sum(depth == 0)) == (whole.beyond, whole.missing)


def test_histograms_of_other_bins_do_not_add_up() -> None:
    with pytest.raises(ValueError, match="expected the same bins, got 4 up to 2 m and 8 up to 2 m"):
        DepthHistogram.of(np.ones(3), max_depth=2.0, bins=4) + DepthHistogram.of(np.ones(3), max_depth=2.0, bins=8)


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 0.9, 0.999])
def test_quantiles_are_those_of_the_pixels_to_a_bin(share: float) -> None:
    depth = np.random.default_rng(1).gamma(3.0, 0.8, 40_000)
    depth = depth[depth < 10]
    histogram = DepthHistogram.of(depth, max_depth=10.0)
    assert histogram.quantile(share) == pytest.approx(np.quantile(depth, share), abs=0.1)


def test_quantiles_at_the_ends() -> None:
    histogram = DepthHistogram(4.0, np.array([0, 3, 0, 1, 0, 0, 0, 0]))
    assert histogram.quantile(0.0) == 0.5
    assert histogram.quantile(0.75) == 1.5
    assert histogram.quantile(1.0) == 2.0
    assert DepthHistogram(4.0, np.array([3, 1]), beyond=1).quantile(0.9) == 4.0
    assert math.isnan(DepthHistogram(4.0, np.array([0, 0]), missing=7).quantile(0.5))


def test_a_share_outside_of_0_to_1() -> None:
    with pytest.raises(ValueError, match=r"expected a share in \[0, 1\], got 90"):
        DepthHistogram(4.0, np.array([1])).quantile(90)


@pytest.mark.parametrize(("max_depth", "bins"), [(0.0, 4), (math.inf, 4), (1.0, 0)])
def test_bins_that_cannot_be(max_depth: float, bins: int) -> None:
    with pytest.raises(ValueError, match="expected max_depth > 0 and bins >= 1"):
        DepthHistogram.of(np.ones(3), max_depth=max_depth, bins=bins)


def test_bars_are_shares_and_the_tail_is_marked() -> None:
    histogram = DepthHistogram(4.0, np.array([5, 4, 0, 1]))
    body, tail = (patch.get_data() for patch in plot_depth_histogram(histogram, tail=0.1).axes[0].patches)
    assert (body.values.tolist(), body.edges.tolist()) == ([50, 40, 0], [0, 1, 2, 3])
    assert (tail.values.tolist(), tail.edges.tolist()) == ([10], [3, 4])
    axes = plot_depth_histogram(histogram, tail=0.1, log=True).axes[0]
    assert axes.get_yscale() == "log"
    dots, far_dots, line = axes.lines
    assert (dots.get_xdata().tolist(), dots.get_ydata().tolist()) == ([0.5, 1.5], [50, 40])
    assert (far_dots.get_xdata().tolist(), far_dots.get_ydata().tolist()) == ([3.5], [10])
    assert line.get_xdata() == [3.0, 3.0]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["nearest 90%", "farthest 10%: > 3.00 m"]
    assert axes.get_ylabel() == "% of pixels per 1 m"


def test_nothing_to_draw() -> None:
    with pytest.raises(ValueError, match="expected pixels with a depth, got none"):
        plot_depth_histogram(DepthHistogram.of(np.zeros(4), max_depth=4.0))
    with pytest.raises(ValueError, match=r"expected a tail in \(0, 1\), got 10"):
        plot_depth_histogram(DepthHistogram.of(np.ones(4), max_depth=4.0), tail=10)
