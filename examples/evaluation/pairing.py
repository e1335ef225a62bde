"""Which file holds the prediction of which frame: by name, as an order proves nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from depthattn.data import DataError

# predict.py writes NAME_depth.png, and coloured depth and labels beside it.
_ENDING = "_depth"
_ADVICE = "name predictions after the frames, or --in-order takes them in natural order"


@dataclass(frozen=True)
class FrameName:
    """What a frame is called.

    Args:
        title: for the reader.
        files: the files that it is made of; none, where frames have numbers only.
        number: of a frame without files, from 0.
    """

    title: str
    files: tuple[Path, ...] = ()
    number: int | None = None


Keys = Callable[[FrameName], Iterable[Hashable]]
KeyOf = Callable[[Path], Hashable]


def pair(folder: Path, files: Sequence[Path], frames: Sequence[FrameName], count: int) -> list[Path]:
    """The prediction of each of the first ``count`` of all ``frames``.

    A prediction belongs to the frame whose image or depth file has its name; with folders in front of it where that is
    needed, or joined by underscores. Where names do not pair them, the last number in each counts. Frames that have
    numbers only are counted from 0 or from 1, whichever fits.

    Raises:
        DataError: a frame without a prediction, a prediction without a frame, or a pair that is not the only one.
    """
    files = [file for file in files if file.stem.endswith(_ENDING)] or files
    ways = _by_number_alone() if frames[0].number is not None else _by_name(folder)
    claims = [_claims(files, frames, keys, key_of) for keys, key_of in ways]
    fitting = [claim for claim in claims if _is_complete(claim, count)]
    if frames[0].number is not None and len(fitting) > 1:
        raise DataError(
            f"{folder}: expected numbers that show whether frames count from 0 or from 1, got some that fit both; "
            "--in-order takes them in natural order"
        )
    # Where none fits, the errors are those of the way by which most files have a frame.
    best = fitting[0] if fitting else max(claims, key=lambda claim: sum(map(bool, claim)))
    return _paired(folder, files, frames, count, best)


def _paired(
    folder: Path, files: Sequence[Path], frames: Sequence[FrameName], count: int, claims: Sequence[Sequence[int]]
) -> list[Path]:
    found: dict[int, Path] = {}
    for file, claimed in zip(files, claims, strict=True):
        if not claimed:
            named = frames[0].title
            raise DataError(f"{file}: expected a frame of this name, as {named} is one, got none; {_ADVICE}")
        if len(claimed) > 1:
            first, second = (frames[index].title for index in claimed[:2])
            raise DataError(
                f"{file}: expected the name of one frame, got one that fits {first} and {second}; put predictions "
                "into folders as the frames are"
            )
        other = found.setdefault(claimed[0], file)
        if other != file:
            raise DataError(f"{file}: expected one prediction of {frames[claimed[0]].title}, got {other} for it too")
    missing = [frame.title for index, frame in enumerate(frames[:count]) if index not in found]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{folder}: expected a prediction of {missing[0]}{more}, got none; {_ADVICE}")
    return [found[index] for index in range(count)]


def _claims(files: Sequence[Path], frames: Sequence[FrameName], keys: Keys, key_of: KeyOf) -> list[list[int]]:
    """The frames that each file may belong to."""
    known: dict[Hashable, list[int]] = {}
    for index, frame in enumerate(frames):
        for key in set(keys(frame)):
            known.setdefault(key, []).append(index)
    return [known.get(key_of(file), []) for file in files]


def _is_complete(claims: Sequence[Sequence[int]], count: int) -> bool:
    """Whether each file has one frame, no two the same, and the first ``count`` frames all have one."""
    claimed = [index for claim in claims for index in claim]
    alone = all(len(claim) == 1 for claim in claims) and len(set(claimed)) == len(claimed)
    return alone and set(range(count)) <= set(claimed)


def _by_name(folder: Path) -> list[tuple[Keys, KeyOf]]:
    def tails(frame: FrameName) -> Iterable[tuple[str, ...]]:
        return (words[start:] for file in frame.files if (words := _words(file)) for start in range(len(words)))

    def numbers(frame: FrameName) -> Iterable[int]:
        # That of the image: names of depth files may count otherwise.
        return [number for file in frame.files[:1] if (number := _last_number(file)) is not None]

    return [(tails, lambda file: _words(file.relative_to(folder))), (numbers, _last_number)]


def _by_number_alone() -> list[tuple[Keys, KeyOf]]:
    def counted_from(start: int) -> Keys:
        return lambda frame: () if frame.number is None else (frame.number + start,)

    return [(counted_from(start), _last_number) for start in (0, 1)]


def _words(file: Path) -> tuple[str, ...]:
    """The words of a path between slashes and underscores, without its suffix."""
    stem = file.with_name(file.stem.removesuffix(_ENDING) or file.stem)
    return tuple(word for part in stem.parts for word in re.split(r"[/\\_]", part) if word)


def _last_number(file: Path) -> int | None:
    numbers = re.findall(r"[0-9]+", file.stem)
    return int(numbers[-1]) if numbers else None
