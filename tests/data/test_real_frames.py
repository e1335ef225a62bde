"""The reader against a real labeled file, decoded here by other means."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch

from depthattn.data import NYUDepthV2


def test_every_frame_equals_the_stored_arrays_pixel_by_pixel(real_file: str) -> None:
    dataset = NYUDepthV2(real_file, "all", num_classes=894)
    with h5py.File(real_file) as file:
        height, width = file["images"].shape[3], file["images"].shape[2]
        for index in range(min(3, len(dataset))):
            sample = dataset[index]
            for row, column in [(0, 0), (height - 1, 0), (0, width - 1), (height // 3, width // 4)]:
                pixel = sample["image"][:, row, column].mul(255).round().int().tolist()
                assert pixel == file["images"][index, :, column, row].tolist()
                assert sample["depth"][0, row, column].item() == file["rawDepths"][index, column, row]
                stored = int(file["labels"][index, column, row])
                assert sample["labels"][row, column].item() == (stored - 1 if stored else -100)


def test_floor_lies_in_the_lower_half_and_ceiling_in_the_upper(real_file: str) -> None:
    dataset = NYUDepthV2(real_file, "all", num_classes=13, depth="inpainted")
    floor, ceiling = dataset.class_names.index("floor"), dataset.class_names.index("ceiling")
    for index in range(min(7, len(dataset))):
        labels = dataset[index]["labels"]
        rows = torch.arange(labels.shape[0]).view(-1, 1).expand_as(labels).float()
        if (labels == floor).any():
            assert rows[labels == floor].mean() > labels.shape[0] / 2
        if (labels == ceiling).any():
            assert rows[labels == ceiling].mean() < labels.shape[0] / 2


@pytest.mark.parametrize("num_classes", [40, 13])
def test_class_ids_stay_in_range_and_depth_in_metres(real_file: str, num_classes: int) -> None:
    for index in range(min(7, len(NYUDepthV2(real_file, "all")))):
        sample = NYUDepthV2(real_file, "all", num_classes=num_classes)[index]
        labels = sample["labels"][sample["labels"] != -100]
        assert ((labels >= 0) & (labels < num_classes)).all()
        valid = sample["depth"][sample["depth"] > 0]
        assert 0.4 < float(np.median(valid.numpy())) < 10.0
