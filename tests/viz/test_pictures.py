"""Contact sheet and curves, down to the pixels of the saved picture."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from depthattn.viz import Frame, Panel, colour_depth, contact_sheet, label_palette, plot_curves

NAMES = ("wall", "floor", "lamp")


def frame(height: int = 24, width: int = 32) -> Frame:
    depth = torch.full((1, height, width), 2.0)
    depth[:, : height // 2] = 0.0
    labels = torch.zeros(height, width, dtype=torch.long)
    labels[:, : width // 2] = -100
    return Frame(
        image=torch.full((3, height, width), 0.25),
        depth=depth,
        predicted_depth=torch.full((1, height, width), 3.0),
        labels=labels,
        predicted_labels=torch.full((height, width), 2),
    )


def pixels(figure: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    buffer = io.BytesIO()
    figure.savefig(buffer)
    return np.asarray(Image.open(buffer).convert("RGB"))


def centre(figure: Any, picture: np.ndarray[Any, np.dtype[np.uint8]], column: int, y: float = 0.25) -> list[int]:
    """Colour in the saved picture in the middle of a cell of the first row, at height ``y`` from its bottom."""
    box = figure.axes[column].get_position()
    row = round((1 - box.y0 - y * box.height) * picture.shape[0])
    return picture[row, round((box.x0 + 0.75 * box.width) * picture.shape[1])].tolist()


def test_cells_hold_the_colours_of_their_maps() -> None:
    figure = contact_sheet([frame()], class_names=NAMES, depth_range=(0.5, 10.0))
    picture = pixels(figure)
    assert centre(figure, picture, 0) == [64, 64, 64]
    assert centre(figure, picture, 1) == colour_depth(np.array([[2.0]]))[0, 0].tolist()
    assert centre(figure, picture, 1, y=0.75) == [255, 255, 255]
    assert centre(figure, picture, 2) == colour_depth(np.array([[3.0]]))[0, 0].tolist()
    assert centre(figure, picture, 3) == label_palette(3)[0].tolist()
    assert centre(figure, picture, 4) == label_palette(3)[2].tolist()
    assert centre(figure, picture, 5, y=0.75) == [255, 255, 255]


def test_depth_colours_span_the_depth_of_the_frames() -> None:
    """Here 2 to 4 m, but for one pixel in a hundred and whatever was predicted; one depth spans half of itself."""
    shown, near = frame(), frame()
    shown.depth[:, -1] = 4.0
    shown.depth[:, -2, 0] = 100.0
    figure = contact_sheet([shown], class_names=NAMES)
    bar = figure.axes[6]
    assert bar.get_xlim() == pytest.approx((2.0, 4.0))
    expected = colour_depth(np.array([[3.0]]), min_depth=2.0, max_depth=4.0)[0, 0].tolist()
    assert centre(figure, pixels(figure), 2) == expected
    assert contact_sheet([near], class_names=NAMES).axes[6].get_xlim() == pytest.approx((2.0, 3.0))
    near.depth.zero_()
    assert contact_sheet([near], class_names=NAMES).axes[6].get_xlim() == pytest.approx((3.0, 4.5))


def test_texts_name_columns_units_and_the_classes_that_occur() -> None:
    figure = contact_sheet([frame()], class_names=NAMES)
    assert [axes.get_title() for axes in figure.axes[:6]] == [
        "image", "true depth", "predicted depth", "true labels", "predicted labels", "attention α + λ",
    ]  # fmt: skip
    assert figure.axes[2].get_xlabel() == "RMSE 1.00 m"
    assert figure.axes[4].get_xlabel() == "0% of pixels right"
    assert figure.axes[6].get_xlabel().startswith("depth in m")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["wall", "lamp", "(no label)"]


def test_frames_without_truth_say_so() -> None:
    bare = frame()
    figure = contact_sheet(
        [Frame(bare.image, torch.zeros(1, 24, 32), bare.predicted_depth, torch.full((24, 32), -100), bare.labels)],
        class_names=NAMES,
    )
    assert (figure.axes[2].get_xlabel(), figure.axes[4].get_xlabel()) == ("no true depth", "no true labels")


def test_each_row_adds_the_height_of_one_cell() -> None:
    heights = [pixels(contact_sheet([frame()] * rows, class_names=NAMES)).shape[0] for rows in (1, 2, 3)]
    # A cell is 1.9 inches wide, its picture 3:4, with 0.2 inches of caption, at 120 dots per inch.
    assert heights[1] - heights[0] == pytest.approx((1.9 * 3 / 4 + 0.2) * 120, abs=1)
    assert heights[2] - heights[1] == pytest.approx(heights[1] - heights[0], abs=1)


def test_no_frames() -> None:
    with pytest.raises(ValueError, match=r"^contact_sheet: expected at least one frame, got none$"):
        contact_sheet([], class_names=NAMES)


def test_frames_of_two_sizes() -> None:
    with pytest.raises(ValueError, match=r"expected frames of one size, got \[\(24, 32\), \(32, 32\)\]"):
        contact_sheet([frame(), frame(32, 32)], class_names=NAMES)


def test_labels_without_a_name() -> None:
    with pytest.raises(ValueError, match="expected labels from 0 to 1 or -100, got 0 to 2"):
        contact_sheet([frame()], class_names=NAMES[:2])


def test_curves_draw_what_the_history_holds() -> None:
    history = [{"epoch": 1, "loss": 4.0}, {"epoch": 2, "loss": math.nan, "rmse": 1.5}, {"epoch": 3, "loss": 1.0}]
    panels = [
        Panel("losses", {"loss": "training", "absent": "never"}, log=True),
        Panel("depth", {"rmse": "validation"}, "m", {"constant": 2.0, "none": math.nan}),
    ]
    left, right = plot_curves(history, panels).axes
    assert [line.get_xydata().tolist() for line in left.lines] == [[[1, 4], [3, 1]]]
    assert (left.get_yscale(), right.get_yscale(), right.get_ylabel()) == ("log", "linear", "m")
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["validation", "constant"]
    assert right.lines[1].get_ydata()[0] == 2.0


def test_curves_without_history() -> None:
    with pytest.raises(ValueError, match=r"^plot_curves: expected epochs and panels, got 0 and 1$"):
        plot_curves([], [Panel("a", {})])


def test_curves_with_a_row_that_lacks_its_epoch() -> None:
    with pytest.raises(ValueError, match=r"expected 'epoch' in every row of history, got \['loss'\] in row 0"):
        plot_curves([{"loss": 1.0}], [Panel("a", {"loss": "loss"})])


def test_nothing_is_registered_with_pyplot() -> None:
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    contact_sheet([frame()], class_names=NAMES)
    plot_curves([{"epoch": 1, "loss": 1.0}], [Panel("loss", {"loss": "loss"})])
    assert plt.get_fignums() == before
