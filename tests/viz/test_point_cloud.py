"""Points by hand, and a room of known walls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from depthattn.viz import View, back_project, plot_point_clouds, seen_from


def test_back_projected_points_by_hand() -> None:
    # The middle of a 2x4 map is between its pixels: they lie 0.5 and 1.5 pixels from it.
    points = back_project(torch.tensor([[[4.0, 4.0, 0.0, 2.0], [math.nan, 8.0, 4.0, 2.0]]]), focal=2.0)
    assert points[0, 0].tolist() == [-3.0, -1.0, 4.0]
    assert points[0, 3].tolist() == [1.5, -0.5, 2.0]
    assert points[1, 1].tolist() == [-2.0, 2.0, 8.0]
    assert np.isnan(points[0, 2]).all()
    assert np.isnan(points[1, 0]).all()


def test_back_projection_about_another_centre() -> None:
    assert back_project(np.array([[3.0]]), focal=3.0, centre=(0.0, -1.0)).tolist() == [[[0.5, 1.5, 3.0]]]


def test_a_wall_seen_at_an_angle_is_flat() -> None:
    # The plane z = 3 + x / 2, of which a ray (u/f, v/f, 1) meets the point z = 3 / (1 - u / 2f).
    u = (np.arange(16) + 0.5 - 8) / 13.0
    depth = np.broadcast_to(3 / (1 - u / 2), (12, 16))
    x, _, z = back_project(depth, focal=13.0).reshape(-1, 3).T
    np.testing.assert_allclose(z, 3 + x / 2, rtol=1e-12)


@pytest.mark.parametrize("focal", [0.0, -1.0, math.inf, math.nan])
def test_a_focal_length_that_cannot_be(focal: float) -> None:
    with pytest.raises(ValueError, match="back_project: expected focal > 0"):
        back_project(np.ones((2, 2)), focal=focal)


def test_views_by_hand() -> None:
    point = np.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(seen_from(point, View(0, 0)), [1, -2, 3], atol=1e-12)
    np.testing.assert_allclose(seen_from(point, View(0, 90)), [1, 3, 2], atol=1e-12)
    # Looking along +x, what lies ahead of the camera is to the left.
    np.testing.assert_allclose(seen_from(point, View(90, 0)), [-3, -2, 1], atol=1e-12)


def test_views_keep_distances() -> None:
    points = np.random.default_rng(0).normal(size=(50, 3))
    seen = seen_from(points, View(-35, 25))
    np.testing.assert_allclose(np.linalg.norm(seen, axis=1), np.linalg.norm(points, axis=1), rtol=1e-12)


def test_clouds_share_their_axes_and_near_points_come_last() -> None:
    image = torch.rand(3, 6, 8)
    truth = torch.full((1, 6, 8), 2.0)
    truth[0, 0, 0] = 0.0
    prediction = truth.clone()
    prediction[0, 0, 0], prediction[0, 5, 7] = 4.0, 1.0
    figure = plot_point_clouds(image, {"truth": truth, "prediction": prediction}, focal=8.0, view=View(0, 0))
    upper, lower = figure.axes
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["truth", "prediction"]
    assert (upper.get_xlim(), upper.get_ylim()) == (lower.get_xlim(), lower.get_ylim())
    assert len(upper.collections[0].get_offsets()) == 47
    drawn = lower.collections[0]
    # Straight ahead, the farthest pixel is painted first and the nearest last.
    assert drawn.get_offsets()[0].tolist() == [-3.5 * 4 / 8, 2.5 * 4 / 8]
    assert drawn.get_offsets()[-1].tolist() == [3.5 / 8, -2.5 / 8]
    np.testing.assert_allclose(drawn.get_facecolors()[-1, :3], image[:, 5, 7])
    sizes = np.sqrt(drawn.get_sizes())
    assert sizes[0] / sizes[-1] == pytest.approx(4)


def test_clouds_of_another_size_than_the_image() -> None:
    with pytest.raises(ValueError, match=r"expected depths of the image's size \(6, 8\), got \(6, 6\) for 'truth'"):
        plot_point_clouds(torch.rand(3, 6, 8), {"truth": torch.ones(6, 6)}, focal=8.0, view=View(0, 0))


def test_no_cloud_and_no_pixel() -> None:
    with pytest.raises(ValueError, match=r"expected an image \(3, H, W\) and depth maps, got \(3, 6, 8\) and 0 maps"):
        plot_point_clouds(torch.rand(3, 6, 8), {}, focal=8.0, view=View(0, 0))
    with pytest.raises(ValueError, match="expected pixels with depth, got none"):
        plot_point_clouds(torch.rand(3, 6, 8), {"truth": torch.zeros(6, 8)}, focal=8.0, view=View(0, 0))
