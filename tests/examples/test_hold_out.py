"""What is held out of data without a split: neighbours and folders, so that no video is on both sides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from depthattn.data import DataError
from depthattn.data.frame_paths import FramePaths


def frames(*names: str) -> list[FramePaths]:
    return [FramePaths(Path(name), None, None, None) for name in names]


def numbered(count: int, folder: str = "images") -> list[FramePaths]:
    return frames(*(f"{folder}/{number}.jpg" for number in range(count)))


def held(given: Sequence[FramePaths], way: str | None = None) -> tuple[list[str], str, str | None]:
    from training.hold_out import hold_out

    parts = hold_out(given, [frame.image.parent for frame in given], way, "data")
    assert sorted(parts.train + parts.validation) == sorted(given)
    return [str(frame.image) for frame in parts.validation], parts.words, parts.warning


def test_the_last_tenth_is_one_block_of_few_frames() -> None:
    names, words, warning = held(numbered(100))
    assert names == [f"images/{number}.jpg" for number in range(90, 100)]
    assert (words, warning) == ("1 block of neighbouring frames held out", None)
    assert held(numbered(2))[0] == ["images/1.jpg"]


def test_neighbours_are_those_in_natural_order_whatever_the_order_of_the_list() -> None:
    shuffled = [numbered(30)[(7 * place) % 30] for place in range(30)]
    assert sorted(held(shuffled)[0]) == ["images/27.jpg", "images/28.jpg", "images/29.jpg"]


def test_many_frames_have_blocks_in_several_places() -> None:
    names, words, _ = held(numbered(2000))
    assert words == "4 blocks of neighbouring frames held out"
    numbers = [int(Path(name).stem) for name in names]
    assert len(numbers) == 200
    starts = [number for number in numbers if number - 1 not in numbers]
    assert starts == [450, 950, 1450, 1950]


def test_whole_folders_where_there_are_several() -> None:
    given = numbered(50, "kitchen") + numbered(12, "bath") + numbered(60, "hall")
    names, words, warning = held(given)
    assert names == [f"bath/{number}.jpg" for number in range(12)]
    assert (words, warning) == ("folder bath held out", None)
    many = [frame for room in range(25) for frame in numbered(4, f"room{room}")]
    names, words, _ = held(many)
    assert {name.split("/")[0] for name in names} == {"room9", "room19"}
    assert words == "2 of 25 folders held out"


def test_a_folder_for_each_frame_tells_no_videos_apart() -> None:
    each = frames(*(f"{number}/rgb.jpg" for number in range(40)))
    assert held(each)[1] == "1 block of neighbouring frames held out"


def test_every_tenth_frame_is_warned_of() -> None:
    names, words, warning = held(numbered(40), "tenth")
    assert names == [f"images/{number}.jpg" for number in (9, 19, 29, 39)]
    assert words == "every tenth frame held out"
    assert warning is not None
    assert "--hold-out blocks or folders cuts none" in warning


def test_what_cannot_be_held_out_is_an_error() -> None:
    with pytest.raises(DataError, match=r"data: expected at least two frames, .* got 1"):
        held(numbered(1))
    with pytest.raises(DataError, match="data: expected several folders to hold some out, got one: images"):
        held(numbered(9), "folders")


def test_a_split_that_leaks_is_said() -> None:
    from training.hold_out import leak

    video = numbered(40)
    assert leak(video, video[3:5]) == "2 of the 2 frames to score are trained on as well"
    tenth = video[9::10]
    rest = [frame for frame in video if frame not in tenth]
    warning = leak(rest, tenth)
    assert warning is not None
    assert warning.startswith("3 of the 4 frames to score lie between frames that are trained on")
    assert leak(video[:30], video[30:]) is None
    assert leak(video, numbered(40, "other")) is None
