"""A figure on light and on dark paper: greys are mirrored, colours and pictures are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

figure_module = pytest.importorskip("matplotlib.figure")

from depthattn.viz.looks import dark_path, save_in_both_looks  # noqa: E402

PAPER, INK, BLUE = (0x13, 0x14, 0x16), (0xCE, 0xD2, 0xD6), (0, 0x72, 0xB2)


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def has(image: np.ndarray, colour: tuple[int, int, int]) -> bool:
    return bool((image == colour).all(-1).any())


def test_greys_are_mirrored_and_colours_stay(tmp_path: Path) -> None:
    figure = figure_module.Figure(figsize=(3, 3), dpi=50, facecolor="white")
    axes = figure.add_axes((0.2, 0.2, 0.7, 0.7))
    axes.plot([0, 1], [0, 1], color="#0072B2", linewidth=6)
    axes.axhline(0.8, color="black", linewidth=6)
    axes.axhline(0.2, color="#999999", linewidth=6)
    axes.text(0.5, 0.5, "plate", bbox={"facecolor": "white", "edgecolor": "none", "pad": 20})
    save_in_both_looks(figure, tmp_path / "one.png")
    light, dark = pixels(tmp_path / "one.png"), pixels(dark_path(tmp_path / "one.png"))
    assert (tmp_path / "one_dark.png").is_file()
    assert tuple(light[0, 0]) == (255, 255, 255)
    assert tuple(dark[0, 0]) == PAPER
    assert has(light, BLUE)
    assert has(dark, BLUE)
    assert has(light, (0, 0, 0))
    assert has(dark, INK)
    # 0.6 lies (0.6 - 0.14) / 0.86 of the way from ink to paper.
    grey = tuple(round(ink + (0.6 - 0.14) / 0.86 * (paper - ink)) for ink, paper in zip(INK, PAPER, strict=True))
    near = np.abs(dark.astype(int) - grey).max(-1) <= 1
    assert near.sum() > 100
    assert not has(dark, (255, 255, 255)), "the plate behind a text stays white"


def test_pictures_and_points_of_many_colours_stay(tmp_path: Path) -> None:
    figure = figure_module.Figure(figsize=(3, 3), dpi=50, facecolor="white")
    picture, cloud = figure.add_axes((0, 0, 0.5, 1)), figure.add_axes((0.5, 0, 0.5, 1))
    picture.imshow(np.full((4, 4, 3), 250, np.uint8))
    cloud.scatter([0, 1], [0, 1], s=2000, c=[(0.9, 0.9, 0.9), (0.1, 0.1, 0.1)], linewidths=0)
    for axes in (picture, cloud):
        axes.set_axis_off()
    save_in_both_looks(figure, tmp_path / "one.png")
    dark = pixels(tmp_path / "one_dark.png")
    assert has(dark, (250, 250, 250))
    assert has(dark, (230, 230, 230))
    assert has(dark, (26, 26, 26))
