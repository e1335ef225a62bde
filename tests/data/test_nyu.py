from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import torch
from tests.data.nyu_factory import Frames, make_frames, write_frames, write_labeled_mat, write_splits_mat
from torch.utils.data import DataLoader

from depthattn.data import DataError, NYUDepthV2


@pytest.fixture
def mat(tmp_path: Path) -> Path:
    path = tmp_path / "labeled.mat"
    write_labeled_mat(path)
    return path


def test_picture_depth_and_labels_are_upright_and_unmirrored(tmp_path: Path) -> None:
    content = make_frames(2, (5, 7))
    content.images[1] = 0
    content.images[1, 0, 6] = (255, 0, 51)  # top right
    content.raw_depths[1] = 2.0
    content.raw_depths[1, 4, 0] = 7.5  # bottom left
    content.labels[1] = 21
    content.labels[1, 0, 1] = 11
    write_frames(tmp_path / "a.mat", content)
    sample = NYUDepthV2(tmp_path / "a.mat", [1])[0]
    assert sample["image"].shape == (3, 5, 7)
    assert sample["image"].dtype == torch.float32
    torch.testing.assert_close(sample["image"][:, 0, 6], torch.tensor([1.0, 0.0, 0.2]))
    assert sample["image"].sum() == pytest.approx(1.2)
    assert sample["depth"].shape == (1, 5, 7)
    assert sample["depth"].dtype == torch.float32
    assert sample["depth"][0, 4, 0] == 7.5
    assert (sample["depth"] == 2.0).sum() == 34
    assert sample["labels"].shape == (5, 7)
    assert sample["labels"].dtype == torch.int64
    assert sample["labels"][0, 1] == 1  # floor
    assert (sample["labels"] == 0).sum() == 34  # wall


def test_raw_and_inpainted_depth_are_the_two_stored_ones(tmp_path: Path) -> None:
    content = write_labeled_mat(tmp_path / "a.mat")
    raw = NYUDepthV2(tmp_path / "a.mat", "all")[3]["depth"][0]
    filled = NYUDepthV2(tmp_path / "a.mat", "all", depth="inpainted")[3]["depth"][0]
    np.testing.assert_array_equal(raw.numpy(), content.raw_depths[3])
    np.testing.assert_array_equal(filled.numpy(), content.depths[3])
    assert (raw == 0).any()


def test_depth_that_is_no_distance_counts_as_missing(tmp_path: Path) -> None:
    content = make_frames(1)
    content.raw_depths[0, 0, :3] = (np.nan, np.inf, -1.0)
    write_frames(tmp_path / "a.mat", content)
    assert NYUDepthV2(tmp_path / "a.mat", "all")[0]["depth"][0, 0, :3].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(("num_classes", "last"), [(894, 893), (40, 39), (13, 6)])
def test_labels_follow_the_number_of_classes(tmp_path: Path, num_classes: int, last: int) -> None:
    content = make_frames(1)
    content.labels[0, 0, :2] = (0, 894)  # unlabelled, and the last of the 894
    write_frames(tmp_path / "a.mat", content)
    dataset = NYUDepthV2(tmp_path / "a.mat", "all", num_classes=num_classes)
    assert dataset[0]["labels"][0, :2].tolist() == [-100, last]
    assert dataset.num_classes == len(dataset.class_names) == num_classes


def test_splits_file_counts_from_one(tmp_path: Path, mat: Path) -> None:
    write_splits_mat(tmp_path / "splits.mat", [1, 6], [2, 3, 4, 5])
    assert NYUDepthV2(mat, "train", splits=tmp_path / "splits.mat").frames == (0, 5)
    assert NYUDepthV2(mat, "test", splits=tmp_path / "splits.mat").frames == (1, 2, 3, 4)


def test_built_in_split_applies_to_the_official_number_of_frames(tmp_path: Path) -> None:
    content = Frames(
        np.zeros((1449, 1, 1, 3), np.uint8),
        np.ones((1449, 1, 1), np.float32),
        np.ones((1449, 1, 1), np.float32),
        np.ones((1449, 1, 1), np.uint16),
    )
    content.images[2] = 255
    write_frames(tmp_path / "a.mat", content)
    train, test = NYUDepthV2(tmp_path / "a.mat"), NYUDepthV2(tmp_path / "a.mat", "test")
    assert (len(train), len(test)) == (795, 654)
    assert train[0]["image"].max() == 1.0  # the third frame is the first of the training set
    assert test[0]["image"].max() == 0.0


def test_chosen_frames_keep_their_order(tmp_path: Path) -> None:
    content = write_labeled_mat(tmp_path / "a.mat")
    dataset = NYUDepthV2(tmp_path / "a.mat", np.array([4, 1]))
    assert len(dataset) == 2
    np.testing.assert_array_equal(dataset[1]["depth"][0].numpy(), content.raw_depths[1])
    np.testing.assert_array_equal(dataset[-2]["depth"][0].numpy(), content.raw_depths[4])


def test_iteration_ends(mat: Path) -> None:
    assert sum(1 for _ in NYUDepthV2(mat, "all")) == 6


# A worker that is spawned imports everything first.
@pytest.mark.parametrize(("context", "workers"), [("fork", 2), ("spawn", 1)])
def test_workers_read_what_the_parent_reads(mat: Path, context: str, workers: int) -> None:
    dataset = NYUDepthV2(mat, "all")
    expected = torch.stack([dataset[index]["image"] for index in range(6)])  # leaves a handle open in the parent
    loader = DataLoader(dataset, batch_size=2, num_workers=workers, multiprocessing_context=context)
    torch.testing.assert_close(torch.cat([batch["image"] for batch in loader]), expected, rtol=0, atol=0)
    torch.testing.assert_close(dataset[5]["image"], expected[5], rtol=0, atol=0)


def test_a_copy_by_pickle_opens_its_own_file(mat: Path) -> None:
    dataset = NYUDepthV2(mat, "all")
    first = dataset[0]
    copy = pickle.loads(pickle.dumps(dataset))
    dataset.close()
    torch.testing.assert_close(copy[0], first)
    torch.testing.assert_close(dataset[0], first)  # opened again


def _broken(path: Path, key: str, data: np.ndarray[Any, Any] | None) -> None:
    with h5py.File(path, "r+") as file:
        del file[key]
        if data is not None:
            file[key] = data


@pytest.mark.parametrize(
    ("key", "data", "message"),
    [
        ("labels", None, "expected key 'labels', got depths, images, instances"),
        ("rawDepths", None, "expected key 'rawDepths', got depths"),
        ("images", np.zeros((6, 48, 64, 3), np.uint8), r"'images': expected shape \(N,3,W,H\), got \(6, 48, 64, 3\)"),
        ("images", np.zeros((3, 64, 48), np.uint8), r"'images': expected shape \(N,3,W,H\), got \(3, 64, 48\)"),
        ("images", np.zeros((6, 3, 64, 48), np.uint16), "'images': expected uint8, got uint16"),
        ("rawDepths", np.zeros((6, 64, 48), np.uint16), "'rawDepths': expected float metres, got uint16"),
        ("labels", np.zeros((6, 64, 48), np.float32), "'labels': expected integers, got float32"),
        ("labels", np.zeros((5, 64, 48), np.uint16), "'labels': expected 6 frames as 'images' has, got 5"),
        (
            "rawDepths",
            np.zeros((6, 48, 64), np.float32),
            r"'rawDepths': expected shape \(6, 64, 48\) to fit 'images', got \(6, 48, 64\)",
        ),
    ],
)
def test_wrong_layouts_name_the_key(mat: Path, key: str, data: np.ndarray[Any, Any] | None, message: str) -> None:
    _broken(mat, key, data)
    with pytest.raises(DataError, match=message) as error:
        NYUDepthV2(mat, "all")
    assert str(mat) in str(error.value)
    assert "\n" not in str(error.value)


def _elsewhere(file: h5py.File, old: np.ndarray[Any, Any]) -> None:
    layout = h5py.VirtualLayout(old.shape, old.dtype)
    layout[...] = h5py.VirtualSource("other.mat", "labels", old.shape)
    file.create_virtual_dataset("labels", layout)


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (
            lambda file, old: file.update(labels=h5py.SoftLink("/instances")),
            "expected an array in the file .*, got a link",
        ),
        (lambda file, old: file.update(labels=h5py.ExternalLink("other.mat", "labels")), "in the file .*, got a link"),
        (
            lambda file, old: file.create_dataset(
                "labels", old.shape, old.dtype, external=[("/etc/passwd", 0, 1 << 20)]
            ),
            "expected an array in the file itself, got one whose numbers are elsewhere",
        ),
        (_elsewhere, "expected an array in the file itself, got one whose numbers are elsewhere"),
        (
            lambda file, old: file.create_dataset("labels", (2**40, 64, 48), old.dtype, chunks=(1, 64, 48)),
            r"expected an array that fits into its file, got shape \(1099511627776, 64, 48\)",
        ),
        (
            lambda file, old: file.create_dataset(
                "labels", old.shape, old.dtype, chunks=(2**28, 1, 1), maxshape=(None, None, None), compression="gzip"
            ),
            r"expected chunks of at most 268435456 bytes, got \(268435456, 1, 1\)",
        ),
    ],
)
def test_an_array_that_leads_out_of_the_file_or_claims_too_much(mat: Path, put: Any, message: str) -> None:
    with h5py.File(mat, "r+") as file:
        old = file["labels"][()]
        del file["labels"]
        put(file, old)
    with pytest.raises(DataError, match=f"labeled.mat: 'labels': .*{message}"):
        NYUDepthV2(mat, "all")


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.mat: expected the official .*, got No such file or directory"):
        NYUDepthV2(tmp_path / "none.mat")
    with pytest.raises(DataError, match=r"expected the official .*, got Is a directory"):
        NYUDepthV2(tmp_path)


def test_a_v5_file_is_recognised(tmp_path: Path) -> None:
    write_splits_mat(tmp_path / "splits.mat", [1], [2])
    with pytest.raises(DataError, match=r"expected the official nyu_depth_v2_labeled\.mat .*, got a MATLAB v5 file"):
        NYUDepthV2(tmp_path / "splits.mat")


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.9])
def test_a_truncated_file_is_recognised(mat: Path, share: float) -> None:
    content = mat.read_bytes()
    mat.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(
        DataError, match=r"expected the official .*, got (.* not HDF5|a truncated or damaged file)"
    ) as error:
        NYUDepthV2(mat, "all")
    assert "\n" not in str(error.value)


def test_damage_in_the_table_of_keys_names_the_file(mat: Path) -> None:
    content = mat.read_bytes()
    mat.write_bytes(content.replace(b"TREE", b"EERT").replace(b"SNOD", b"DONS"))
    with pytest.raises(DataError, match=r"labeled\.mat: expected readable data, got a damaged file \("):
        NYUDepthV2(mat, "all")


def test_damage_inside_the_file_names_the_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.mat"
    content = write_labeled_mat(path)
    _broken(path, "labels", None)
    with h5py.File(path, "r+") as file:
        file.create_dataset("labels", data=content.labels.transpose(0, 2, 1), chunks=(1, 64, 48), compression="gzip")
        chunk = file["labels"].id.get_chunk_info(2)
    with path.open("r+b") as raw:
        raw.seek(chunk.byte_offset + 512)
        raw.write(b"\xff" * chunk.size)
    dataset = NYUDepthV2(path, "all")
    np.testing.assert_array_equal(dataset[1]["labels"] == -100, content.labels[1] == 0)
    with pytest.raises(DataError, match="frame 2: expected readable data, got a damaged file"):
        dataset[2]


def test_a_label_over_894_names_the_frame(tmp_path: Path) -> None:
    content = make_frames(3)
    content.labels[2, 1, 1] = 900
    write_frames(tmp_path / "a.mat", content)
    dataset = NYUDepthV2(tmp_path / "a.mat", "all")
    with pytest.raises(DataError, match=r"a\.mat: 'labels' frame 2: expected labels in 0\.\.894, got 900"):
        dataset[2]


def test_depth_in_millimetres_names_the_frame(tmp_path: Path) -> None:
    content = make_frames(1)
    content.raw_depths[0] *= 1000
    write_frames(tmp_path / "a.mat", content)
    with pytest.raises(
        DataError, match=r"'rawDepths' frame 0: expected depth in metres, got .* looks like millimetres"
    ):
        NYUDepthV2(tmp_path / "a.mat", "all")[0]


def test_another_number_of_frames_needs_a_splits_file(mat: Path) -> None:
    write_splits_mat(mat.with_name("splits.mat"), [1], [2])  # beside the file, but not passed
    with pytest.raises(DataError, match=r'1449 frames .*, got 6: pass splits= .*, or split="all"'):
        NYUDepthV2(mat)


@pytest.mark.parametrize("number", [0, 7])
def test_split_numbers_out_of_range_name_the_key(tmp_path: Path, mat: Path, number: int) -> None:
    write_splits_mat(tmp_path / "splits.mat", [1, number], [2])
    with pytest.raises(
        DataError, match=rf"splits\.mat: 'trainNdxs': expected frame numbers in 1\.\.6 .*, got {number}"
    ):
        NYUDepthV2(mat, "train", splits=tmp_path / "splits.mat")
    assert NYUDepthV2(mat, "test", splits=tmp_path / "splits.mat").frames == (1,)


def test_wrong_splits_files_are_named(tmp_path: Path, mat: Path) -> None:
    splits = tmp_path / "splits.mat"
    with pytest.raises(DataError, match=r"splits\.mat: expected a splits\.mat .*, got no such file"):
        NYUDepthV2(mat, splits=splits)
    with pytest.raises(DataError, match=r"got a MATLAB v7\.3 file"):
        NYUDepthV2(mat, splits=mat)
    splits.write_bytes(b"not a mat file" * 40)
    with pytest.raises(DataError, match="got a file that does not read"):
        NYUDepthV2(mat, splits=splits)
    scipy.io.savemat(splits, {"other": np.ones((1, 1))})
    with pytest.raises(DataError, match=r"expected key 'trainNdxs' .*, got no such key \(keys: other\)"):
        NYUDepthV2(mat, splits=splits)
    scipy.io.savemat(splits, {"trainNdxs": np.array([[1.5]])})
    with pytest.raises(DataError, match="'trainNdxs': expected whole frame numbers, got"):
        NYUDepthV2(mat, splits=splits)
    scipy.io.savemat(splits, {"trainNdxs": np.zeros((0, 1))})
    with pytest.raises(DataError, match="'trainNdxs': expected at least one frame number, got none"):
        NYUDepthV2(mat, splits=splits)


def test_truncated_splits_files_never_raise_anything_else(tmp_path: Path, mat: Path) -> None:
    splits = tmp_path / "splits.mat"
    write_splits_mat(splits, [1, 2, 3], [4, 5])
    content = splits.read_bytes()
    for length in range(0, len(content) - 60, 7):
        splits.write_bytes(content[:length])
        with pytest.raises(DataError, match=r"splits\.mat"):
            NYUDepthV2(mat, "test", splits=splits)


@pytest.mark.parametrize("index", [-1, 6])
def test_chosen_frames_out_of_range_name_the_place(mat: Path, index: int) -> None:
    with pytest.raises(DataError, match=rf"split\[1\]: expected a frame in 0\.\.5 of .*labeled\.mat, got {index}"):
        NYUDepthV2(mat, [0, index])


def test_wrong_options_are_named(mat: Path) -> None:
    with pytest.raises(ValueError, match='expected split "train", "test", "all" or frame numbers, got \'val\''):
        NYUDepthV2(mat, "val")
    with pytest.raises(ValueError, match="at least one frame in split, got an empty sequence"):
        NYUDepthV2(mat, [])
    with pytest.raises(TypeError, match=r"split\[0\]: expected a frame number, got 1\.5"):
        NYUDepthV2(mat, [1.5])  # type: ignore[list-item]  # the error is what is tested
    with pytest.raises(ValueError, match='expected depth "raw" or "inpainted", got \'filled\''):
        NYUDepthV2(mat, "all", depth="filled")  # type: ignore[arg-type]  # the error is what is tested
    with pytest.raises(ValueError, match="expected num_classes 894, 40 or 13, got 37"):
        NYUDepthV2(mat, "all", num_classes=37)
