"""Crops: the windows that the papers name, in pixels."""

from __future__ import annotations

import pytest

from depthattn.metrics import EIGEN_CROP, GARG_CROP, KITTI_EIGEN_CROP, crop_mask


def window(size: tuple[int, int], crop: object) -> tuple[int, int, int, int]:
    inside = crop_mask(size, crop).nonzero()  # type: ignore[arg-type]
    (top, left), (bottom, right) = inside.amin(0).tolist(), inside.amax(0).tolist()
    assert len(inside) == (bottom - top + 1) * (right - left + 1)
    return top, bottom + 1, left, right + 1


def test_the_crop_of_nyu() -> None:
    assert EIGEN_CROP == ((45, 471), (41, 601))
    assert window((480, 640), EIGEN_CROP) == (45, 471, 41, 601)


@pytest.mark.parametrize("size", [(375, 1242), (370, 1224), (374, 1238), (376, 1241), (352, 1216), (100, 300)])
def test_the_crops_of_kitti_at_any_size(size: tuple[int, int]) -> None:
    height, width = size
    columns = int(0.03594771 * width), int(0.96405229 * width)
    assert window(size, GARG_CROP) == (int(0.40810811 * height), int(0.99189189 * height), *columns)
    assert window(size, KITTI_EIGEN_CROP) == (int(0.3324324 * height), int(0.91351351 * height), *columns)


def test_the_usual_size_of_kitti_by_hand() -> None:
    assert window((375, 1242), GARG_CROP) == (153, 371, 44, 1197)
    assert window((375, 1242), KITTI_EIGEN_CROP) == (124, 342, 44, 1197)


@pytest.mark.parametrize(
    ("size", "crop", "reason"),
    [
        ((240, 320), EIGEN_CROP, "expected a crop inside 240x320 pixels, got rows 45:471, columns 41:601"),
        ((480, 640), ((30, 30), (0, 640)), "expected a crop inside"),
        ((2, 2), ((0.1, 0.2), (0.0, 1.0)), "got rows 0:0, columns 0:2"),
        ((4, 4), ((0.0, 1.5), (0.0, 1.0)), "got rows 0:6"),
    ],
)
def test_crops_that_do_not_fit(size: tuple[int, int], crop: object, reason: str) -> None:
    with pytest.raises(ValueError, match=f"crop_mask: .*{reason}"):
        crop_mask(size, crop)  # type: ignore[arg-type]
