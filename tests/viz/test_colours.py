"""Pixels of known values have known colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from depthattn.viz import (
    IGNORED_LABEL,
    MISSING_VALUE,
    colour_attention,
    colour_depth,
    colour_error,
    colour_labels,
    label_palette,
)

# First and last entry of viridis as its authors publish it, in 0..1.
VIRIDIS_FIRST, VIRIDIS_LAST = (0.267004, 0.004874, 0.329415), (0.993248, 0.906157, 0.143936)


def test_depth_range_ends_have_the_ends_of_viridis() -> None:
    pixels = colour_depth(torch.tensor([[0.5, 10.0]]))
    np.testing.assert_allclose(pixels[0] / 255.0, [VIRIDIS_FIRST, VIRIDIS_LAST], atol=1 / 255)


def test_depth_outside_the_range_has_the_colour_of_its_end() -> None:
    pixels = colour_depth(np.array([[0.1, 0.5, 10.0, 60.0]]))
    assert pixels[0, 0].tolist() == pixels[0, 1].tolist()
    assert pixels[0, 3].tolist() == pixels[0, 2].tolist()


@pytest.mark.parametrize("hole", [0.0, -1.0, float("nan"), float("inf")])
def test_holes_have_their_own_colour(hole: float) -> None:
    pixels = colour_depth(torch.tensor([[hole, 3.0]]))
    assert tuple(pixels[0, 0].tolist()) == MISSING_VALUE
    assert tuple(pixels[0, 1].tolist()) != MISSING_VALUE


def test_farther_is_brighter() -> None:
    pixels = colour_depth(np.geomspace(0.5, 10.0, 64)[None])[0].astype(float)
    luminance = pixels @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance) > 0).all()


def test_depth_is_coloured_by_its_logarithm() -> None:
    near, far = colour_depth(np.array([[1.0, 2.0]])), colour_depth(np.array([[4.0, 8.0]]), min_depth=2, max_depth=40)
    np.testing.assert_array_equal(near, far)


def test_depth_takes_half_precision_with_a_channel_and_changes_nothing() -> None:
    depth = torch.full((1, 2, 3), 2.0, dtype=torch.bfloat16, requires_grad=True)
    np.testing.assert_array_equal(colour_depth(depth), colour_depth(np.full((2, 3), 2.0)))
    assert (depth == 2).all()


def test_attention_has_the_missing_colour_where_it_is_nan() -> None:
    pixels = colour_attention(torch.tensor([[float("nan"), 0.0, 1.0, 1.5]]), top=1.0)[0]
    assert tuple(pixels[0].tolist()) == MISSING_VALUE
    assert pixels[2].tolist() == pixels[3].tolist() != pixels[1].tolist()


def test_labels_take_the_palette_and_ignored_pixels_grey() -> None:
    pixels = colour_labels(torch.tensor([[0, 4, -100]]), 5)
    np.testing.assert_array_equal(pixels[0], [*label_palette(5)[[0, 4]], IGNORED_LABEL])


def test_labels_honour_another_ignore_index() -> None:
    assert tuple(colour_labels(np.array([[255]], dtype=np.uint8), 5, ignore_index=255)[0, 0]) == IGNORED_LABEL


@pytest.mark.parametrize("label", [5, -1])
def test_label_out_of_range(label: int) -> None:
    with pytest.raises(ValueError, match=rf"^colour_labels: expected labels from 0 to 4 or -100, got {label}$"):
        colour_labels(torch.tensor([[label]]), 5)


def test_wrong_shape_is_named() -> None:
    with pytest.raises(ValueError, match=r"^colour_depth: expected depth of shape \(H, W\), got \(2, 3, 4\)$"):
        colour_depth(torch.ones(2, 3, 4))


def test_wrong_range_is_named() -> None:
    with pytest.raises(ValueError, match="expected 0 < min_depth < max_depth, got 3 and 2"):
        colour_depth(torch.ones(2, 3), min_depth=3, max_depth=2)


def test_palette_is_the_same_whatever_the_number_of_classes() -> None:
    np.testing.assert_array_equal(label_palette(894)[:40], label_palette(40))


def test_palette_colours_are_distinct_from_each_other_and_from_grey() -> None:
    colours = {tuple(colour) for colour in label_palette(894).tolist()}
    assert len(colours) == 894
    assert IGNORED_LABEL not in colours


def test_the_first_twelve_colours_stay_apart_without_colour_vision_of_one_kind() -> None:
    # A deuteranope is left with about the yellow-blue axis and lightness.
    rgb = label_palette(12) / 255.0
    seen = np.stack([0.5 * (rgb[:, 0] + rgb[:, 1]), rgb[:, 2]], axis=1)
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=-1) + np.eye(12)
    assert distance.min() > 0.08


def test_palette_cannot_be_written_to() -> None:
    with pytest.raises(ValueError, match="read-only"):
        label_palette(3)[0] = 0


def test_errors_have_the_two_sides_of_their_map_and_white_holes() -> None:
    pixels = colour_error(torch.tensor([[[-9.0, -0.5, 0.0, 0.5, 0.7, float("nan")]]]), top=0.5)[0].astype(int)
    assert pixels[0].tolist() == pixels[1].tolist()
    assert pixels[3].tolist() == pixels[4].tolist()
    near, right, far = pixels[1], pixels[2], pixels[3]
    assert near[2] > near[0]
    assert far[0] > far[2]
    assert right.max() < 30
    assert tuple(pixels[5]) == MISSING_VALUE


def test_larger_errors_are_brighter_on_both_sides() -> None:
    luminance = colour_error(np.linspace(-1, 1, 101)[None])[0].astype(float) @ [0.2126, 0.7152, 0.0722]
    assert (np.diff(luminance[:51]) <= 0).all()
    assert (np.diff(luminance[50:]) >= 0).all()


def test_error_colours_without_a_range() -> None:
    with pytest.raises(ValueError, match="colour_error: expected top > 0, got 0"):
        colour_error(np.zeros((2, 2)), top=0)
