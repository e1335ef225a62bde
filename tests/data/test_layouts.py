"""Layouts of folders that other projects use: recognised by what is there, forced by name, read frame by frame."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
from PIL import Image

from depthattn.data import DataError, RGBDList
from depthattn.data.depth_files import DepthCoding
from depthattn.data.layouts import LAYOUTS, Layout, find_layout

Array = np.ndarray[Any, Any]


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((4, 6, 3), np.uint8)).save(path)


def metres(path: Path, value: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, np.full((4, 6), value, np.float32))
    else:
        Image.fromarray(np.full((4, 6), 1000 * value, np.uint16)).save(path)


def labels(path: Path, values: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".mat":
        scipy.io.savemat(path, {"segmentation": values.astype(float)})
    else:
        Image.fromarray(values.astype(np.uint8)).save(path)


def depths(layout: Layout, part: str = "train") -> list[float]:
    dataset = RGBDList.from_frames(getattr(layout, part), DepthCoding(missing=layout.missing_depth), layout.labels)
    return [float(frame["depth"].max()) for frame in dataset]


def test_folders_of_equal_names(tmp_path: Path) -> None:
    for number in (2, 10, 1):
        image(tmp_path / "images" / f"{number}.JPG")
        metres(tmp_path / "depths" / f"{number}.png", number)
    image(tmp_path / "images" / "._1.jpg")
    layout = find_layout(tmp_path)
    assert (layout.name, layout.words, layout.validation) == ("folders", "images/ depths/", None)
    assert depths(layout) == [1.0, 2.0, 10.0]
    assert layout.skipped == {"hidden": 1}


def test_folders_inside_are_matched_by_their_paths(tmp_path: Path) -> None:
    for room in ("kitchen", "bath"):
        image(tmp_path / "images" / room / "1.png")
        metres(tmp_path / "depth" / room / "1.npy", 3.0 if room == "bath" else 4.0)
    assert depths(find_layout(tmp_path)) == [3.0, 4.0]


@pytest.mark.parametrize(("depth", "masks"), [("depth", "masks"), ("depths", "labels"), ("depth", None)])
@pytest.mark.parametrize("held", ["val", "test"])
def test_splits_inside_of_kinds(tmp_path: Path, depth: str, masks: str | None, held: str) -> None:
    """As Ultralytics' depth task has them."""
    for part, value in (("train", 2.0), (held, 5.0)):
        image(tmp_path / "images" / part / "a.jpg")
        metres(tmp_path / depth / part / "a.npy", value)
        if masks:
            labels(tmp_path / masks / part / "a.png", np.ones((4, 6)))
    layout = find_layout(tmp_path)
    assert layout.name == "split-inside"
    assert (depths(layout), depths(layout, "validation")) == ([2.0], [5.0])
    assert layout.has_labels == (masks is not None)


def test_boxes_of_a_detector_are_no_labels(tmp_path: Path) -> None:
    image(tmp_path / "images" / "train" / "a.jpg")
    metres(tmp_path / "depth" / "train" / "a.npy", 2.0)
    (tmp_path / "labels" / "train").mkdir(parents=True)
    (tmp_path / "labels" / "train" / "a.txt").write_text("0 0.5 0.5 0.1 0.1")
    layout = find_layout(tmp_path)
    assert (layout.has_labels, layout.validation) == (False, None)


def test_kinds_inside_of_splits(tmp_path: Path) -> None:
    for part, value in (("train", 2.0), ("test", 5.0)):
        image(tmp_path / part / "images" / "a.jpg")
        metres(tmp_path / part / "depths" / "a.png", value)
    layout = find_layout(tmp_path)
    assert layout.name == "split-outside"
    assert (depths(layout), depths(layout, "validation")) == ([2.0], [5.0])


@pytest.mark.parametrize("suffix", [".png", ".mat"])
def test_nyud_mt(tmp_path: Path, suffix: str) -> None:
    classes = np.arange(24).reshape(4, 6) + 17
    classes[0, 0] = 0
    for name in ("7", "8", "9"):
        image(tmp_path / "images" / f"{name}.jpg")
        labels(tmp_path / "segmentation" / f"{name}{suffix}", classes)
        values = np.full((4, 6), float(name), np.float32)
        values[1, :2] = 255.0, 0.0
        (tmp_path / "depth").mkdir(exist_ok=True)
        np.save(tmp_path / "depth" / f"{name}.npy", values)
    (tmp_path / "gt_sets").mkdir()
    (tmp_path / "gt_sets" / "train.txt").write_text("9\n7\n")
    (tmp_path / "gt_sets" / "val.txt").write_text("8")
    layout = find_layout(tmp_path)
    assert layout.name == "nyud-mt"
    assert (depths(layout), depths(layout, "validation")) == ([9.0, 7.0], [8.0])
    sample = RGBDList.from_frames(layout.train, DepthCoding(missing=layout.missing_depth), layout.labels)[0]
    assert sample["depth"][0, 1].tolist() == [0.0, 0.0, 9.0, 9.0, 9.0, 9.0]
    expected = classes - 1
    expected[0, 0] = -100
    assert (sample["labels"].numpy() == expected).all()
    (tmp_path / "gt_sets" / "val.txt").unlink()
    (tmp_path / "gt_sets" / "val.txt").symlink_to(tmp_path / "gone.txt")
    with pytest.raises(DataError, match=r"val\.txt: expected a link to what is there, got one to .*gone\.txt"):
        find_layout(tmp_path)
    (tmp_path / "gt_sets" / "val.txt").unlink()
    (tmp_path / "gt_sets" / "val.txt").write_text("8\nnowhere")
    with pytest.raises(DataError, match=r"val\.txt line 2: expected image of the name 'nowhere', got none"):
        find_layout(tmp_path)


def test_hdf5_of_one_frame_each(tmp_path: Path) -> None:
    pixels = np.arange(72, dtype=np.uint8).reshape(3, 4, 6)
    for name, value in (("train/kitchen/2", 2.0), ("train/kitchen/10", 3.0), ("val/official/1", 4.0)):
        path = tmp_path / f"{name}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["rgb"], file["depth"] = pixels, np.full((4, 6), value, np.float32)
    layout = find_layout(tmp_path)
    assert layout.name == "hdf5"
    assert (depths(layout), depths(layout, "validation")) == ([2.0, 3.0], [4.0])
    assert (RGBDList.from_frames(layout.train)[0]["image"].numpy() * 255).round().tolist() == pixels.tolist()
    assert depths(find_layout(tmp_path / "train")) == [2.0, 3.0]


def test_a_layout_can_be_forced(tmp_path: Path) -> None:
    image(tmp_path / "images" / "train" / "a.png")
    metres(tmp_path / "depths" / "train" / "a.png", 2.0)
    assert find_layout(tmp_path).name == "split-inside"
    forced = find_layout(tmp_path, "folders")
    assert (forced.name, forced.validation, depths(forced)) == ("folders", None, [2.0])
    for name in sorted(set(LAYOUTS) - {"folders", "split-inside"}):
        with pytest.raises(DataError, match=rf"expected the layout {name} \(.*\), got none of it"):
            find_layout(tmp_path, name)


def test_what_is_no_layout_says_what_is_known_and_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "pictures").mkdir()
    with pytest.raises(DataError, match=r"find_layout: .*: expected frames in .*nyud-mt: .*, got pictures"):
        find_layout(tmp_path)
    with pytest.raises(DataError, match="got no folder"):
        find_layout(tmp_path / "none")
    image(tmp_path / "images" / "a.png")
    with pytest.raises(DataError, match="expected a folder depths/ or labels/ beside images/, got neither"):
        find_layout(tmp_path)


def test_a_jpeg_of_depth_is_refused_and_not_passed_over(tmp_path: Path) -> None:
    image(tmp_path / "images" / "a.png")
    Image.fromarray(np.full((4, 6), 80, np.uint8)).save((tmp_path / "images").parent / "a.jpg")
    (tmp_path / "depths").mkdir()
    (tmp_path / "a.jpg").rename(tmp_path / "depths" / "a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: expected one-channel depth in a format that keeps numbers, got JPEG"):
        depths(find_layout(tmp_path))


@pytest.mark.parametrize("name", ["images", "depth", "labels", "gt_sets", "train"])
def test_a_folder_that_is_a_link_to_nowhere_is_not_absent(tmp_path: Path, name: str) -> None:
    image(tmp_path / "data" / "images" / "a.png")
    metres(tmp_path / "data" / "depth" / "a.npy", 2.0)
    if (tmp_path / "data" / name).is_dir():
        (tmp_path / "data" / name).rename(tmp_path / "elsewhere")
    (tmp_path / "data" / name).symlink_to(tmp_path / "gone")
    with pytest.raises(DataError, match=rf"data/{name}: expected a link to what is there, got one to .*gone"):
        find_layout(tmp_path / "data")
    if name in ("images", "depth"):
        (tmp_path / "gone").symlink_to(tmp_path / "elsewhere")
        assert depths(find_layout(tmp_path / "data")) == [2.0]
