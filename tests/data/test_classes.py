from __future__ import annotations

import numpy as np
import pytest
import torch

from depthattn.data import DataError, class_names
from depthattn.data.classes import map_labels, official_split


def test_names_have_the_published_order() -> None:
    assert class_names(40)[:5] == ("wall", "floor", "cabinet", "bed", "chair")
    assert class_names(40)[-3:] == ("otherstructure", "otherfurniture", "otherprop")
    assert class_names(13)[0] == "bed"
    assert class_names(13)[-1] == "window"
    assert class_names(894)[:3] == ("book", "bottle", "cabinet")
    assert [len(class_names(n)) for n in (894, 40, 13)] == [894, 40, 13]


@pytest.mark.parametrize(
    ("name", "in_forty", "in_thirteen"),
    [
        ("wall", "wall", "wall"),
        ("floor", "floor", "floor"),
        ("sofa", "sofa", "sofa"),
        ("chair", "chair", "chair"),
        ("book", "otherprop", "objects"),  # as in the published table, which has "books" apart
        ("books", "books", "books"),
        ("bottle", "otherprop", "objects"),
        ("cabinet", "cabinet", "furniture"),
        ("television", "television", "tv"),
        ("table", "table", "table"),
        ("ceiling", "ceiling", "ceiling"),
    ],
)
def test_objects_land_in_the_class_of_their_name(name: str, in_forty: str, in_thirteen: str) -> None:
    stored = np.array([class_names(894).index(name) + 1], dtype=np.uint16)
    assert class_names(894)[map_labels(stored, 894).item()] == name
    assert class_names(40)[map_labels(stored, 40).item()] == in_forty
    assert class_names(13)[map_labels(stored, 13).item()] == in_thirteen


@pytest.mark.parametrize("num_classes", [894, 40, 13])
def test_zero_is_ignored_and_all_classes_are_reached(num_classes: int) -> None:
    ids = map_labels(np.arange(895, dtype=np.uint16), num_classes)
    assert ids.dtype == torch.int64
    assert ids[0] == -100
    assert sorted(set(ids[1:].tolist())) == list(range(num_classes))


@pytest.mark.parametrize(("labels", "found"), [([895], "895"), ([3, -1], "-1")])
def test_labels_out_of_range_name_the_value(labels: list[int], found: str) -> None:
    with pytest.raises(DataError, match=rf"^labels: expected labels in 0\.\.894, got {found}$"):
        map_labels(np.array(labels), 40)


def test_another_number_of_classes_is_an_error() -> None:
    with pytest.raises(ValueError, match="class_names: expected num_classes 894, 40 or 13, got 37"):
        class_names(37)
    with pytest.raises(ValueError, match="map_labels: expected num_classes 894, 40 or 13, got 5"):
        map_labels(np.array([1]), 5)


def test_official_split_counts_and_first_frames() -> None:
    train, test = official_split("train"), official_split("test")
    assert (len(train), len(test)) == (795, 654)
    assert set(train) | set(test) == set(range(1449))
    # splits.mat counts from 1: its test set starts 1, 2, 9 and its training set 3, 4, 5.
    assert test[:3] == (0, 1, 8)
    assert train[:3] == (2, 3, 4)
    with pytest.raises(ValueError, match='expected "train" or "test", got \'val\''):
        official_split("val")
