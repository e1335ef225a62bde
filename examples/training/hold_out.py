"""Which frames are held out for validation where the data have no split, and what leaks from one part to the other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from depthattn.data import DataError
from depthattn.data.frame_paths import FramePaths
from depthattn.data.walk import natural_key

WAYS = ("blocks", "folders", "tenth")

_SHARE = 10
# Several blocks see more of the data than one; each cuts a video at two places at most.
_MOST_BLOCKS, _BLOCK_FRAMES = 5, 50


class Parts(NamedTuple):
    """Frames to train on and to score; how they were told apart, and what is to be feared of it, for the reader."""

    train: list[FramePaths]
    validation: list[FramePaths]
    words: str
    warning: str | None


def hold_out(frames: Sequence[FramePaths], folders: Sequence[Path], way: str | None, where: str) -> Parts:
    """Hold out a tenth of the frames, at least one.

    Args:
        frames: all.
        folders: of each frame, the folder that it is held out with.
        way: "blocks" of neighbours in natural order, whole "folders", or every "tenth" frame. None: folders where
            there are several, blocks otherwise.
        where: what the frames are, to begin an error with.

    Raises:
        DataError: there is nothing to hold out.
    """
    if len(frames) < 2:
        raise DataError(f"{where}: expected at least two frames, so that one can be held out, got {len(frames)}")
    order = sorted(range(len(frames)), key=lambda index: natural_key(frames[index].image))
    by_folder: dict[Path, list[int]] = {}
    for index in order:
        by_folder.setdefault(folders[index], []).append(index)
    # A folder of its own for each frame tells no videos apart.
    several = 2 <= len(by_folder) <= len(frames) // 2
    if way == "folders" and len(by_folder) < 2:
        raise DataError(f"{where}: expected several folders to hold some out, got one: {next(iter(by_folder))}")
    warning = None
    if way == "folders" or (way is None and several):
        chosen = _folders(by_folder, len(frames))
        held = [index for folder in chosen for index in by_folder[folder]]
        named = f"folder {chosen[0].name}" if len(chosen) == 1 else f"{len(chosen)} of {len(by_folder)} folders"
        words = f"{named} held out"
    elif way == "tenth":
        step = min(_SHARE, len(frames))
        held = [order[place] for place in range(step - 1, len(frames), step)]
        words = "every tenth frame held out"
        warning = (
            "every tenth frame of a video is nearly one that is trained on, so that scores are too good; "
            "--hold-out blocks or folders cuts none"
        )
    else:
        runs = blocks(len(frames))
        held = [order[place] for run in runs for place in run]
        words = in_words(runs)
    taken = set(held)
    train = [frame for index, frame in enumerate(frames) if index not in taken]
    return Parts(train, [frames[index] for index in sorted(taken)], words, warning)


def blocks(count: int) -> list[range]:
    """Runs of places that make a tenth of all, each at the end of an equal part."""
    held = max(1, count // _SHARE)
    number = max(1, min(_MOST_BLOCKS, held // _BLOCK_FRAMES))
    ends = [count * (part + 1) // number for part in range(number)]
    sizes = [held * (part + 1) // number - held * part // number for part in range(number)]
    return [range(end - size, end) for end, size in zip(ends, sizes, strict=True)]


def in_words(runs: Sequence[range]) -> str:
    return f"{len(runs)} block{'s' * (len(runs) > 1)} of neighbouring frames held out"


def _folders(by_folder: dict[Path, list[int]], count: int) -> list[Path]:
    """Every tenth folder; of fewer, the one that is nearest to a tenth of the frames."""
    names = list(by_folder)
    if len(names) >= _SHARE:
        return names[_SHARE - 1 :: _SHARE]
    return [min(names, key=lambda name: abs(len(by_folder[name]) - count / _SHARE))]


def leak(train: Sequence[FramePaths], validation: Sequence[FramePaths]) -> str | None:
    """What is wrong with a split that somebody else made: frames of both parts, or of one video in both."""
    trained = {frame.image for frame in train}
    both = sum(frame.image in trained for frame in validation)
    if both:
        return f"{both} of the {len(validation)} frames to score are trained on as well"
    scored = {frame.image for frame in validation}
    shared = {image.parent for image in trained} & {image.parent for image in scored}
    order = sorted((image for image in trained | scored if image.parent in shared), key=natural_key)
    between = sum(
        image in scored and before in trained and after in trained and before.parent == image.parent == after.parent
        for before, image, after in zip(order, order[1:], order[2:], strict=False)
    )
    if 2 * between <= len(scored):
        return None
    return (
        f"{between} of the {len(scored)} frames to score lie between frames that are trained on; if those are of one "
        "video, scores are too good"
    )
