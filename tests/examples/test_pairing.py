"""Predictions pair with frames by name, or by the number in it, and in no other way."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from depthattn.data import DataError

FOLDER = Path("preds")


def paired(predictions: list[str], frames: list[str] | list[int], count: int | None = None) -> list[str]:
    """The predictions of the frames, given by their paths or numbers."""
    from evaluation.pairing import FrameName, pair

    names = [
        FrameName(f"frame {frame}", number=frame) if isinstance(frame, int) else FrameName(frame, (Path(frame),))
        for frame in frames
    ]
    files = [FOLDER / prediction for prediction in predictions]
    found = pair(FOLDER, files, names, len(frames) if count is None else count)
    return [str(path.relative_to(FOLDER)) for path in found]


@pytest.mark.parametrize(
    ("predictions", "frames", "expected"),
    [
        # By stem, whatever the order and the suffix.
        (["b.npy", "a.png"], ["x/a.jpg", "x/b.jpg"], ["a.png", "b.npy"]),
        # By name, although numbers would pair them otherwise.
        (["img2_1.png", "img1_2.png"], ["img1_2.jpg", "img2_1.jpg"], ["img1_2.png", "img2_1.png"]),
        # With folders where stems repeat, as in KITTI.
        (["d1/05.png", "d2/05.png"], ["kitti/d2/05.png", "kitti/d1/05.png"], ["d2/05.png", "d1/05.png"]),
        # Folders joined by underscores, as BTS writes them.
        (["bath_rgb_00045.png", "hall_rgb_00045.png"], ["/n/hall/rgb_00045.jpg", "/n/bath/rgb_00045.jpg"],
         ["hall_rgb_00045.png", "bath_rgb_00045.png"]),
        # What predict.py writes.
        (["a_depth.png", "a_depth_colour.png", "a_labels.png"], ["x/a.jpg"], ["a_depth.png"]),
        # By the last number, however it is padded.
        (["pred_10.npy", "pred_2.npy"], ["rgb_00002.jpg", "rgb_00010.jpg"], ["pred_2.npy", "pred_10.npy"]),
        # Frames of numbers only count from 0 or from 1.
        (["00003.png", "00001.png"], [1, 3], ["00001.png", "00003.png"]),
        (["00004.png", "00002.png"], [1, 3], ["00002.png", "00004.png"]),
    ],
)  # fmt: skip
def test_pairs(predictions: list[str], frames: list[str], expected: list[str]) -> None:
    assert paired(predictions, frames) == expected


def test_the_name_of_the_depth_file_will_do() -> None:
    from evaluation.pairing import FrameName, pair

    frames = [FrameName("rgb_1", (Path("s/rgb_1.jpg"), Path("s/sync_depth_9.png")))]
    file = FOLDER / "sync_depth_9.npy"
    assert pair(FOLDER, [file], frames, 1) == [file]


def test_predictions_of_frames_that_are_not_scored() -> None:
    assert paired(["a.png", "b.png", "c.png"], ["a.jpg", "b.jpg", "c.jpg"], 2) == ["a.png", "b.png"]
    assert paired(["a.png", "b.png"], ["a.jpg", "b.jpg", "c.jpg"], 2) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("predictions", "frames", "reason"),
    [
        (["a.png"], ["a.jpg", "b.jpg"], "preds: expected a prediction of b.jpg, got none"),
        (["a.png"], ["a.jpg", "b.jpg", "c.jpg"], "expected a prediction of b.jpg and 1 more, got none"),
        (["a.png", "z.png"], ["a.jpg"], "preds/z.png: expected a frame of this name, as a.jpg is one, got none"),
        (["a.png", "a.npy"], ["a.jpg"], "preds/a.npy: expected one prediction of a.jpg, got preds/a.png for it too"),
        (["5.png"], ["d1/5.jpg", "d2/5.jpg"], "preds/5.png: expected the name of one frame, got one that fits d1/5.jpg "
         "and d2/5.jpg"),
        (["0.png", "1.png"], [3, 8], "preds/0.png: expected a frame of this name, as frame 3 is one, got none"),
        (["1.png"], [1, 3], "preds: expected a prediction of frame 3, got none"),
        (["x.png", "y.png"], ["a.jpg", "b.jpg"], "--in-order takes them in natural order"),
    ],
)  # fmt: skip
def test_what_does_not_pair(predictions: list[str], frames: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=re.escape(reason)):
        paired(predictions, frames)


def test_numbers_that_fit_both_ways() -> None:
    with pytest.raises(DataError, match="expected numbers that show whether frames count from 0 or from 1"):
        paired(["1.png", "2.png", "3.png"], [0, 1, 2, 3], count=0)
    assert paired(["0.png", "1.png", "2.png"], [0, 1, 2, 3], count=2) == ["0.png", "1.png"]
