from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

from depthattn.data import DataError, RGBDList

# 3x4, asymmetric: each pixel is its own place.
PIXELS = np.arange(36, dtype=np.uint8).reshape(3, 4, 3) * 7
MILLIMETRES = (np.arange(12, dtype=np.uint16).reshape(3, 4) * 500).astype(np.uint16)


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Three frames: images, depths and labels of the same stems."""
    for stem in ("a", "b", "c"):
        save(tmp_path / "rgb" / f"{stem}.png", PIXELS)
        save(tmp_path / "depth" / f"{stem}.png", MILLIMETRES)
        save(tmp_path / "labels" / f"{stem}.png", np.array([[0, 1, 2, 255]] * 3, dtype=np.uint8))
    return tmp_path


def write_list(root: Path, text: str) -> Path:
    path = root / "list.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_list_with_and_without_slash_focal_blank_lines_and_comments(tree: Path) -> None:
    text = "\ufeff# a comment\n\n/rgb/a.png /depth/a.png 518.8579\r\nrgb/b.png depth/b.png\n  \nrgb/c.png None 518.8579"
    dataset = RGBDList(write_list(tree, text))
    assert [frame.image.name for frame in dataset.frames] == ["a.png", "b.png", "c.png"]
    assert [frame.focal for frame in dataset.frames] == [518.8579, None, 518.8579]
    sample = dataset[0]
    assert {name: value.dtype for name, value in sample.items()} == {
        "image": torch.float32,
        "depth": torch.float32,
        "labels": torch.int64,
    }
    torch.testing.assert_close(sample["image"], torch.from_numpy(PIXELS.transpose(2, 0, 1) / 255.0).float())
    torch.testing.assert_close(sample["depth"], torch.arange(12).view(1, 3, 4) * 0.5)
    assert (sample["labels"] == -100).all()
    assert dataset[2]["depth"].shape == (1, 3, 4)
    assert (dataset[2]["depth"] == 0).all()
    assert (dataset.num_classes, dataset.class_names) == (0, ())


def test_root_apart_from_the_list_and_kitti_scale(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "lists").mkdir()
    dataset = RGBDList(write_list(tmp_path / "lists", "rgb/a.png depth/a.png"), tree, depth_scale=256.0)
    assert dataset[0]["depth"][0, 2, 3] == 5500 / 256


def test_max_depth_makes_far_depth_missing(tree: Path) -> None:
    depth = RGBDList(write_list(tree, "rgb/a.png depth/a.png"), max_depth=4.0)[0]["depth"]
    assert depth.max() == 4.0
    assert depth[0, 2].tolist() == [4.0, 0.0, 0.0, 0.0]


def test_folders_are_matched_by_stem_and_may_lack_targets(tree: Path) -> None:
    (tree / "depth" / "b.png").unlink()
    (tree / "labels" / "c.png").unlink()
    (tree / "rgb" / "notes.txt").write_text("not a picture")
    dataset = RGBDList.from_folder(tree / "rgb", tree / "depth", tree / "labels", num_classes=3)
    assert len(dataset) == 3
    assert (dataset.num_classes, dataset.class_names) == (3, ("0", "1", "2"))
    assert dataset[0]["labels"][0].tolist() == [0, 1, 2, -100]
    assert dataset[0]["depth"][0, 2, 3] == 5.5
    assert (dataset[1]["depth"] == 0).all()
    assert dataset[1]["labels"][0].tolist() == [0, 1, 2, -100]
    assert (dataset[2]["labels"] == -100).all()


def test_labels_that_start_at_one(tree: Path) -> None:
    save(tree / "labels" / "a.png", np.array([[0, 1, 2, 3]] * 3, dtype=np.uint8))
    dataset = RGBDList.from_folder(tree / "rgb", labels=tree / "labels", num_classes=3, ignore_value=0, first_label=1)
    assert dataset[0]["labels"][2].tolist() == [-100, 0, 1, 2]


def test_palette_labels_are_indices_not_colours(tree: Path) -> None:
    picture = Image.frombytes("P", (4, 3), bytes([2, 0, 1, 255] * 3))
    picture.putpalette([(7 * number) % 256 for number in range(768)])
    picture.save(tree / "labels" / "a.png")
    dataset = RGBDList.from_folder(tree / "rgb", labels=tree / "labels", num_classes=3)
    assert dataset[0]["labels"][0].tolist() == [2, 0, 1, -100]


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_batch_frames_with_and_without_depth(tree: Path, context: str) -> None:
    dataset = RGBDList(write_list(tree, "rgb/a.png depth/a.png\nrgb/c.png None"))
    (batch,) = DataLoader(dataset, batch_size=2, num_workers=1, multiprocessing_context=context)
    assert batch["depth"].amax(dim=(1, 2, 3)).tolist() == [5.5, 0.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rgb/a.png depth/a.png\nrgb/b.png /depth/z.png 5", r"line 2: expected an existing file, got .*depth/z\.png"),
        ("rgb/z.png None", r"line 1: expected an existing file, got .*rgb/z\.png"),
        ("rgb/a\0.png None", "line 1: expected an existing file"),
        (f"{'x' * 5000} None", "line 1: expected an existing file"),
        ("\n\nrgb/a.png", r"line 3: expected 2 to 4 columns \(image, depth, labels, focal\), .*, got 1"),
        ("rgb/a.png depth/a.png 518 0.1", "line 1: expected columns image, depth, labels, focal, got two of focal"),
        (
            "rgb/a.png depth/a.png depth",
            "line 1: expected labels or a focal length in pixels as third column, got 'depth'",
        ),
        ("rgb/a.png depth/a.png -5", "line 1: expected a focal length in pixels as third column, got '-5'"),
        ("# nothing\n", "expected at least one line that names an image and a depth, got none"),
    ],
)
def test_bad_lines_name_list_and_line(tree: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message) as error:
        RGBDList(write_list(tree, text))
    assert str(tree / "list.txt") in str(error.value)


def test_bad_lists_and_roots_are_named(tree: Path) -> None:
    with pytest.raises(DataError, match=r"none\.txt: expected a list of image files, got No such file"):
        RGBDList(tree / "none.txt")
    with pytest.raises(DataError, match=r"expected root to be the folder .*, got .*nowhere"):
        RGBDList(write_list(tree, "rgb/a.png None"), tree / "nowhere")
    (tree / "list.txt").write_bytes(b"rgb/a.png \xff\xfe")
    with pytest.raises(DataError, match="expected a list in UTF-8 text, got byte 10 outside it"):
        RGBDList(tree / "list.txt")


def frame_with(tree: Path, depth: np.ndarray, **options: float) -> RGBDList:
    save(tree / "depth" / "a.png", depth)
    return RGBDList(write_list(tree, "rgb/a.png depth/a.png"), **options)


@pytest.mark.parametrize("array", [np.full((3, 4), 80, np.uint8), np.full((3, 4), True)])
def test_depth_of_8_bits_needs_its_scale(tree: Path, array: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"depth/a\.png: expected 16-bit depth, floats, or depth_scale for 8-bit"):
        frame_with(tree, array)[0]
    assert (frame_with(tree, array, depth_scale=20.0)[0]["depth"] == int(array[0, 0]) / 20).all()


def test_depth_of_three_channels_is_an_error(tree: Path) -> None:
    with pytest.raises(DataError, match=r"depth/a\.png: expected one-channel depth, got Pillow mode RGB$"):
        frame_with(tree, np.full((3, 4, 3), 80, np.uint8), depth_scale=20.0)[0]


def test_millimetres_read_as_metres_name_the_scale_that_fits(tree: Path) -> None:
    message = r"a\.png: expected a median depth in .* got 2500 m with depth_scale=1; depth_scale=1000 would give 2\.5 m"
    with pytest.raises(DataError, match=message):
        frame_with(tree, np.full((3, 4), 2500, np.uint16), depth_scale=1.0)[0]


def test_metres_read_as_millimetres_name_the_scale_that_fits(tree: Path) -> None:
    with pytest.raises(DataError, match=r"got 0\.003 m with depth_scale=1000; depth_scale=1 would give 3 m"):
        frame_with(tree, np.full((3, 4), 3, np.uint16))[0]


def test_empty_and_saturated_depth_says_nothing_about_the_scale(tree: Path) -> None:
    assert (frame_with(tree, np.zeros((3, 4), np.uint16))[0]["depth"] == 0).all()
    saturated = np.full((3, 4), 65535, np.uint16)
    saturated[0, 0] = 2000
    assert frame_with(tree, saturated, depth_scale=100.0)[0]["depth"][0, 0, 0] == 20.0


def test_sizes_of_another_view_name_both_files(tree: Path) -> None:
    message = r"depth/a\.png: expected 3x4 \(height x width\) as .*rgb/a\.png has, got 4x3"
    with pytest.raises(DataError, match=message):
        frame_with(tree, np.ascontiguousarray(MILLIMETRES.T))[0]
    save(tree / "labels" / "b.png", np.zeros((3, 5), np.uint8))
    with pytest.raises(DataError, match=r"labels/b\.png: expected 3x4 .* got 3x5"):
        RGBDList.from_folder(tree / "rgb", labels=tree / "labels", num_classes=3)[1]


def test_depth_and_labels_of_another_size_are_resized_by_nearest_and_that_is_said_once(
    tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    large = np.arange(1000, 1048, dtype=np.uint16).reshape(6, 8)
    for stem in ("a", "b"):
        save(tree / "depth" / f"{stem}.png", large)
        save(tree / "labels" / f"{stem}.png", np.arange(48, dtype=np.uint8).reshape(6, 8))
    dataset = RGBDList.from_folder(tree / "rgb", tree / "depth", tree / "labels", num_classes=48)
    expected = large[1::2, 1::2]
    for sample in (dataset[0], dataset[1], dataset.with_transform(None)[0]):
        assert sample["depth"].numpy()[0] == pytest.approx(expected / 1000)
        assert (sample["labels"].numpy() == expected - 1000).all()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "depth/a.png: depth of 6x8 are resized to their image's 3x4" in caplog.messages[0]
    assert "labels/a.png: labels of 6x8 are resized" in caplog.messages[1]
    save(tree / "rgb" / "c.png", np.zeros((12, 16, 3), np.uint8))
    small = RGBDList.from_folder(tree / "rgb", tree / "depth")[2]["depth"].numpy()[0]
    assert small == pytest.approx(np.kron(MILLIMETRES, np.ones((4, 4))) / 1000)


def test_labels_out_of_range_name_file_and_value(tree: Path) -> None:
    with pytest.raises(DataError, match=r"labels/a\.png: expected labels in 0\.\.1 or 255 \(ignored\), got 2"):
        RGBDList.from_folder(tree / "rgb", labels=tree / "labels", num_classes=2)[0]
    with pytest.raises(DataError, match=r"labels/a\.png: expected labels in 1\.\.9 or 255 \(ignored\), got 0"):
        RGBDList.from_folder(tree / "rgb", labels=tree / "labels", num_classes=9, first_label=1)[0]
    save(tree / "labels" / "a.png", np.zeros((3, 4, 3), np.uint8))
    with pytest.raises(DataError, match=r"labels/a\.png: expected one-channel labels, got Pillow mode RGB"):
        RGBDList.from_folder(tree / "rgb", labels=tree / "labels", num_classes=9)[0]


@pytest.mark.parametrize("folder", ["rgb", "depth"])
def test_every_truncation_of_a_picture_names_the_file(tree: Path, folder: str) -> None:
    path = tree / folder / "a.png"
    content = path.read_bytes()
    dataset = RGBDList(write_list(tree, "rgb/a.png depth/a.png"))
    for length in range(0, len(content) - 24):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match=rf"{folder}/a\.png: expected .*, got a file that does not decode"):
            dataset[0]


def test_what_is_no_picture_of_the_named_formats_is_not_tried(tree: Path) -> None:
    """Pillow would have Ghostscript run an EPS file, whatever its name."""
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    for content in (eps, b"GIF89a\x08\0\x08\0\0\0\0;"):
        (tree / "rgb" / "a.png").write_bytes(content)
        with pytest.raises(DataError, match=r"rgb/a\.png: expected an 8-bit image, got a file that does not decode"):
            RGBDList.from_folder(tree / "rgb")[0]


def test_16_bit_image_is_an_error(tree: Path) -> None:
    save(tree / "rgb" / "a.png", MILLIMETRES)
    with pytest.raises(DataError, match=r"rgb/a\.png: expected an 8-bit image, got Pillow mode I"):
        RGBDList.from_folder(tree / "rgb")[0]


@pytest.mark.parametrize("limit", [4, 8, 11])
def test_more_pixels_than_pillow_allows_is_an_error(tree: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(DataError, match=r"rgb/a\.png: expected an 8-bit image .*MAX_IMAGE_PIXELS"):
        RGBDList.from_folder(tree / "rgb")[0]
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 12)
    assert RGBDList.from_folder(tree / "rgb")[0]["image"].shape == (3, 3, 4)


def test_folders_that_do_not_match_are_named(tree: Path) -> None:
    save(tree / "depth" / "depth_a.png", MILLIMETRES)
    with pytest.raises(DataError, match=r"depth_a\.png: expected an image depth_a\.\* in .*rgb, got none"):
        RGBDList.from_folder(tree / "rgb", tree / "depth")
    save(tree / "rgb" / "a.jpg", PIXELS)
    with pytest.raises(DataError, match=r"expected one file of each stem, got a\.jpg and a\.png"):
        RGBDList.from_folder(tree / "rgb")
    with pytest.raises(DataError, match=r"expected images to be a folder of files, got .*nowhere"):
        RGBDList.from_folder(tree / "nowhere")
    (tree / "empty").mkdir()
    with pytest.raises(DataError, match="empty: expected images, got a folder without such files"):
        RGBDList.from_folder(tree / "empty")


def test_wrong_options_are_named(tree: Path) -> None:
    path = write_list(tree, "rgb/a.png None")
    with pytest.raises(ValueError, match=r"RGBDList: expected depth_scale > 0, got 0\.0"):
        RGBDList(path, depth_scale=0.0)
    with pytest.raises(ValueError, match=r"RGBDList: expected max_depth > 0 or None, got -1"):
        RGBDList(path, max_depth=-1.0)
    with pytest.raises(ValueError, match="expected labels and num_classes together"):
        RGBDList.from_folder(tree / "rgb", labels=tree / "labels")
    with pytest.raises(ValueError, match="expected labels and num_classes together"):
        RGBDList.from_folder(tree / "rgb", num_classes=3)
    with pytest.raises(ValueError, match="expected num_classes >= 1, got 0"):
        RGBDList.from_folder(tree / "rgb", labels=tree / "labels", num_classes=0)
