"""Numbers of one-channel files are those that were stored, whatever a picture decoder makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image
from tests.data.raw_files import GREY, PALETTE, write_pgm, write_png

from depthattn.data import DataError
from depthattn.data.codes import read_depth_codes, read_label_codes

Array = np.ndarray[Any, Any]


def numbers(largest: int, shape: tuple[int, int] = (5, 13)) -> Array:
    """All of 0..largest, or as many as there are pixels, the largest among them."""
    values = np.linspace(0, largest, shape[0] * shape[1]).round().astype(np.int64)
    return np.random.default_rng(0).permutation(values).reshape(shape)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png_by_value(tmp_path: Path, bits: int) -> None:
    values = numbers(2**bits - 1)
    path = write_png(tmp_path / "a.png", values, bits, GREY)
    assert (read_label_codes(path) == values).all()
    codes = read_depth_codes(path)
    assert codes.dtype == (np.uint16 if bits == 16 else np.uint8)
    assert (codes == values).all()


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_palette_png_by_index(tmp_path: Path, bits: int) -> None:
    values = numbers(2**bits - 1)
    assert (read_label_codes(write_png(tmp_path / "a.png", values, bits, PALETTE)) == values).all()


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("largest", [1, 2, 7, 40, 100, 254, 255, 256, 894, 4095, 10000, 65534, 65535])
def test_pgm_of_any_largest_value(tmp_path: Path, largest: int, plain: bool) -> None:
    values = numbers(largest)
    path = write_pgm(tmp_path / "a.pgm", values, largest, plain=plain, comment="255 1 1 made by hand")
    assert (read_label_codes(path) == values).all()
    codes = read_depth_codes(path)
    assert codes.dtype == (np.uint16 if largest > 255 else np.uint8)
    assert (codes == values).all()


@pytest.mark.parametrize("largest", [10, 100, 1000])
def test_pgm_of_numbers_that_its_header_excludes(tmp_path: Path, largest: int) -> None:
    values = numbers(largest) + 1
    path = write_pgm(tmp_path / "a.pgm", values, largest)
    with pytest.raises(DataError, match=rf"numbers up to {largest}, as its header says, got {largest + 1}"):
        read_label_codes(path)


@pytest.mark.parametrize("dtype", ["u1", "u2", ">u2", "u4", "i2", "f2", "f4", "f8", ">f4"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
def test_tiff_of_any_type(tmp_path: Path, dtype: str, compression: str | None) -> None:
    values = numbers(200).astype(dtype)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, values, compression=compression, byteorder=">" if dtype[0] == ">" else "<")
    found = read_depth_codes(path)
    assert found.dtype == values.dtype.newbyteorder("=")
    assert (found == values).all()
    # By its content, whatever it is called.
    assert (read_depth_codes(path.rename(tmp_path / "a.png")) == values).all()


def test_tiff_of_reversed_greys_and_with_a_number_for_nothing(tmp_path: Path) -> None:
    values = numbers(200).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", values, photometric="miniswhite")
    assert (read_label_codes(tmp_path / "a.tif") == values).all()
    metres = np.array([[1.5, 1e20], [2.5, -9999.0]], dtype=np.float32)
    tifffile.imwrite(tmp_path / "b.tif", metres, extratags=[(42113, "s", 0, "1e20", True)])
    assert read_depth_codes(tmp_path / "b.tif").tolist() == [[1.5, 0.0], [2.5, -9999.0]]


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f8", "u2", "i4", "u1", "?"])
def test_arrays_of_any_type(tmp_path: Path, dtype: str) -> None:
    values = numbers(1 if dtype == "?" else 200).astype(dtype)
    for shape in (values.shape, (1, *values.shape), (*values.shape, 1)):
        np.save(tmp_path / "a.npy", values.reshape(shape))
        np.save(tmp_path / "b.npy", np.asfortranarray(values.reshape(shape)))
        np.savez(tmp_path / "c.npz", values.reshape(shape))
        np.savez_compressed(tmp_path / "d.npz", other=np.zeros(3), depth=values.reshape(shape))
        for name in ("a.npy", "b.npy", "c.npz", "d.npz"):
            assert (read_depth_codes(tmp_path / name) == values).all()


def test_npz_of_several_arrays_needs_one_of_the_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", first=np.ones((2, 2)), second=np.ones((2, 2)))
    with pytest.raises(DataError, match=r"a\.npz: expected one array, or one named 'depth', got 'first', 'second'"):
        read_depth_codes(tmp_path / "a.npz")


def test_matlab_and_hdf5_by_their_names(tmp_path: Path) -> None:
    values = numbers(40)
    scipy.io.savemat(tmp_path / "a.mat", {"segmentation": values.astype(float), "depth": values / 4})
    assert (read_label_codes(tmp_path / "a.mat") == values).all()
    assert (read_depth_codes(tmp_path / "a.mat") == values / 4).all()
    with h5py.File(tmp_path / "a.H5", "w") as file:
        file["depth"] = (values / 8).astype(np.float32)
    assert (read_depth_codes(tmp_path / "a.H5") == values / 8).all()


@pytest.mark.parametrize(("name", "format_name"), [("a.jpg", "JPEG"), ("a.png", "JPEG"), ("a.webp", "WEBP")])
def test_what_does_not_keep_numbers_is_refused(tmp_path: Path, name: str, format_name: str) -> None:
    Image.fromarray(numbers(40).astype(np.uint8)).save(tmp_path / name, format=format_name)
    for read in (read_label_codes, read_depth_codes):
        with pytest.raises(DataError, match=rf"{name}: expected .* in a format that keeps numbers, got {format_name}"):
            read(tmp_path / name)


def test_tiff_with_jpeg_inside_is_refused(tmp_path: Path) -> None:
    Image.fromarray(numbers(40, (16, 16)).astype(np.uint8)).save(tmp_path / "a.tif", compression="jpeg")
    with pytest.raises(DataError, match=r"a\.tif: expected .* in a format that keeps numbers, got TIFF of JPEG"):
        read_label_codes(tmp_path / "a.tif")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_no_numbers(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 3)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=rf"a\.png: expected one-channel labels, got Pillow mode {mode}$"):
        read_label_codes(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3, 4)), r"expected one-channel depth of shape \(H,W\), got \(2, 3, 4\)"),
        (np.zeros(4), r"of shape \(H,W\), got \(4,\)"),
        (np.zeros((0, 4)), r"of shape \(H,W\), got \(0, 4\)"),
        (np.zeros((3, 4), complex), "expected one-channel depth, got numbers of type complex128"),
        (np.full((3, 4), "a"), "got numbers of type <U1"),
        (np.full((3, 4), None), "in npy, got a file that does not read"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, values: Array, message: str) -> None:
    np.save(tmp_path / "a.npy", values, allow_pickle=True)
    with pytest.raises(DataError, match=message):
        read_depth_codes(tmp_path / "a.npy")


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 1e30])
def test_labels_are_whole(tmp_path: Path, value: float) -> None:
    np.save(tmp_path / "a.npy", np.array([[1.0, value]]))
    with pytest.raises(DataError, match=r"a\.npy: expected whole numbers as labels, got "):
        read_label_codes(tmp_path / "a.npy")


def test_pfm_stands_upright(tmp_path: Path) -> None:
    values = np.arange(6, dtype="<f4").reshape(2, 3) + 0.5
    (tmp_path / "a.pfm").write_bytes(b"Pf\n3 2\n-1.0\n" + values[::-1].tobytes())
    assert (read_depth_codes(tmp_path / "a.pfm") == values).all()
