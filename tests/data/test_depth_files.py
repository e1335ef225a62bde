"""Metres of depth files: units, missing depth, and numbers that are plainly not what they are taken for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from depthattn.data import DataError
from depthattn.data.depth_files import DepthCoding, read_metres, too_far

Array = np.ndarray[Any, Any]
MISSING = (0.0, -1.0, np.nan, np.inf, -np.inf, 65504.0, 65535.0, float(np.finfo(np.float32).max))


def metres(path: Path, **options: Any) -> Array:
    return read_metres(path, DepthCoding(**options))


def png(path: Path, values: Array) -> Path:
    Image.fromarray(values.astype(np.uint16)).save(path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".tif"])
@pytest.mark.parametrize("dtype", ["f2", "f4", "f8"])
def test_floats_are_metres_and_missing_ones_are_zero(tmp_path: Path, suffix: str, dtype: str) -> None:
    with np.errstate(over="ignore"):
        values = np.array([[1.5, 2.0, 3.25, 4.0, 0.5, 9.0, 7.0, 8.0], MISSING]).astype(dtype)
    path = tmp_path / f"a{suffix}"
    {".npy": np.save, ".npz": np.savez, ".tif": tifffile.imwrite}[suffix](path, values)
    found = metres(path)
    assert found.dtype == np.float32
    assert found.tolist() == [[1.5, 2.0, 3.25, 4.0, 0.5, 9.0, 7.0, 8.0], [0.0] * 8]


def test_the_largest_double_is_missing(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.5, 2.5, np.finfo(np.float64).max]]))
    assert metres(tmp_path / "a.npy").tolist() == [[1.5, 2.5, 0.0]]


@pytest.mark.parametrize(
    ("dtype", "missing"),
    [("u2", 65535), ("i2", 32767), ("i2", -5), ("i4", 65535), ("i4", 2**31 - 1), ("u4", 2**32 - 1)],
)
def test_whole_numbers_are_millimetres_and_the_largest_is_missing(tmp_path: Path, dtype: str, missing: int) -> None:
    np.save(tmp_path / "a.npy", np.array([[1500, 2500, missing, 0]], dtype=dtype))
    assert metres(tmp_path / "a.npy").tolist() == [[1.5, 2.5, 0.0, 0.0]]


def test_a_scale_that_is_given_holds_for_floats_too(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1500.0, 2500.0]]))
    assert metres(tmp_path / "a.npy", scale=1000.0).tolist() == [[1.5, 2.5]]


def test_numbers_that_a_layout_names_and_the_far_are_missing(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.5, 255.0, 12.0, 2.5]]))
    assert metres(tmp_path / "a.npy", missing=(255.0,)).tolist() == [[1.5, 0.0, 12.0, 2.5]]
    assert metres(tmp_path / "a.npy", missing=(255.0,), max_depth=10.0).tolist() == [[1.5, 0.0, 0.0, 2.5]]


def test_the_sky_of_a_render_is_missing_and_says_nothing_about_the_scale(tmp_path: Path) -> None:
    # Virtual KITTI: centimetres, and 655.35 m for the sky, here of most of the picture.
    values = np.full((8, 8), 65535)
    values[6:] = 1234
    found = metres(png(tmp_path / "a.png", values), scale=100.0, max_depth=80.0)
    assert found[6:] == pytest.approx(12.34)
    assert (found[:6] == 0).all()
    np.save(tmp_path / "a.npy", np.where(values == 65535, 1e10, 12.5).astype(np.float32))
    assert (metres(tmp_path / "a.npy", max_depth=80.0)[:6] == 0).all()


def rotated(millimetres: Array) -> Array:
    """As the toolbox of SUN RGB-D stores them, bit by bit."""
    bits = np.unpackbits(millimetres.astype(">u2").view(np.uint8).reshape(*millimetres.shape, 2), axis=-1)
    return np.packbits(np.roll(bits, -3, axis=-1), axis=-1).view(">u2")[..., 0].astype(np.uint16)


@pytest.mark.parametrize("farthest", [5000, 12000])
def test_rotated_bits_are_recognised_and_undone(tmp_path: Path, farthest: int) -> None:
    millimetres = np.random.default_rng(0).integers(700, farthest, (12, 16))
    millimetres[0] = 0
    path = png(tmp_path / "a.png", rotated(millimetres))
    with pytest.raises(DataError, match=r"a\.png: expected depth that is stored as it is, .*depth_code='sunrgbd'"):
        metres(path)
    assert metres(path, code="sunrgbd") == pytest.approx(millimetres / 1000)
    assert metres(path, code="plain", max_depth=None) == pytest.approx(rotated(millimetres) / 1000)


def test_only_16_bits_can_be_rotated(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.5, 2.5]]))
    with pytest.raises(DataError, match=r"a\.npy: expected 16-bit depth with depth_code='sunrgbd', got float64"):
        metres(tmp_path / "a.npy", code="sunrgbd")


def test_millimetres_are_not_taken_for_rotated_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for step in (1, 5, 16, 1000):
        values = random.integers(1, 20, (12, 16)) * step + (0 if step > 1 else 700)
        values[0] = 0
        if step == 16:
            values = values * 3
        assert metres(png(tmp_path / "a.png", values)) == pytest.approx(values / 1000)
    assert (metres(png(tmp_path / "a.png", np.full((3, 4), 2000))) == 2.0).all()
    with pytest.raises(DataError, match=r"expected depth rotated left by three bits .*, got numbers whose low bits"):
        metres(png(tmp_path / "a.png", random.integers(700, 5000, (12, 16))), code="sunrgbd")


@pytest.mark.parametrize("scale", [100, 256, 512, 1000, 4000, 5000, 10000])
def test_scales_in_use_are_hinted(tmp_path: Path, scale: int) -> None:
    path = png(tmp_path / "a.png", np.full((3, 4), 3 * scale))
    with pytest.raises(DataError, match=rf"got .* m with depth_scale=1; .*depth_scale={scale} would give 3 m"):
        metres(path, scale=1.0)
    assert (metres(path, scale=float(scale)) == 3.0).all()


def test_float_millimetres_are_no_metres(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[2400.0, 2500.0, 2600.0]]))
    with pytest.raises(DataError, match=r"got 2450 m with depth_scale=1; depth_scale=1000 would give 2\.45 m"):
        metres(tmp_path / "a.npy")


def test_depth_that_is_mostly_too_far_is_said_with_the_scales_that_fit(tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", np.arange(10000, 15000, 100).reshape(5, 10))
    said = too_far(path, DepthCoding(), 10.0)
    assert said is not None
    assert "a.png: 98% of its depth is beyond 10 m and counts as missing; its median is 12.4 m" in said
    assert "depth_scale=5000 would give 2.49 m" in said
    assert "depth_scale=1000 " not in said
    assert too_far(path, DepthCoding(5000.0), 10.0) is None


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.float32, np.float64])
def test_rotated_numbers_are_recognised_in_any_type(tmp_path: Path, dtype: type) -> None:
    """A 16-bit image that was read and saved again as an array keeps its rotation."""
    millimetres = np.random.default_rng(0).integers(500, 8000, (6, 8)).astype(np.uint16)
    np.save(tmp_path / "a.npy", (millimetres << 3 | millimetres >> 13).astype(np.uint16).astype(dtype))
    with pytest.raises(DataError, match="rotated left by three bits"):
        read_metres(tmp_path / "a.npy", DepthCoding(scale=1000.0))
    read = read_metres(tmp_path / "a.npy", DepthCoding(scale=1000.0, code="sunrgbd"))
    np.testing.assert_allclose(read, millimetres / 1000, rtol=1e-6)


def test_a_tiff_of_several_pages_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.full((2, 6, 8), 2.0, np.float32))
    with pytest.raises(DataError, match=r"a\.tif: expected one-channel depth in a TIFF of one page, got 2 pages"):
        read_metres(tmp_path / "a.tif", DepthCoding())
