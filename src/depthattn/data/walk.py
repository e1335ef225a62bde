"""The files of a folder: one walk for all that reads folders."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from depthattn.data.errors import DataError

HIDDEN, OTHER_KIND, FOLDER, NO_FILE, LOOP = (
    "hidden", "of another kind", "a folder", "neither file nor folder", "a folder inside itself"
)  # fmt: skip


class Found(NamedTuple):
    """What a walk came to.

    Attributes:
        files: in natural order of their paths, frame2 before frame10.
        skipped: how many were left out, by reason.
    """

    files: tuple[Path, ...]
    skipped: Mapping[str, int]


def natural_key(path: str | os.PathLike[str]) -> list[tuple[list[str | int], str]]:
    """A key that puts frame2 before frame10, folder by folder."""
    # The name itself as last word, so that 1.png and 01.png have one order, too. What the pattern found stands at odd
    # places; str.isdigit would also take superscripts, and digits of other scripts, for numbers.
    return [
        ([int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))], name)
        for name in Path(path).parts
    ]


def find_files(folder: Path, suffixes: Collection[str], *, inside: bool = False) -> Found:
    """The files in ``folder`` whose suffix, in any case, is one of ``suffixes``. Links are followed.

    Args:
        folder: where to look.
        suffixes: in lower case, with their dots.
        inside: look into the folders that it holds, too.

    Raises:
        DataError: no folder, one that cannot be read, or a link that leads nowhere where a file is expected.
    """
    skipped: Counter[str] = Counter()
    files = list(_walk(folder, suffixes, inside, skipped, ()))
    files.sort(key=lambda path: natural_key(path.relative_to(folder)))
    return Found(tuple(files), skipped)


def in_words(skipped: Mapping[str, int]) -> str:
    """``"skipped 3: 2 hidden, 1 a folder"``; empty where nothing was."""
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(skipped.items()))
    return f"skipped {sum(skipped.values())}: {reasons}" if reasons else ""


def _walk(
    folder: Path, suffixes: Collection[str], inside: bool, skipped: Counter[str], above: tuple[tuple[int, int], ...]
) -> Iterator[Path]:
    try:
        place = os.stat(folder)
        with os.scandir(folder) as entries:
            listed = list(entries)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DataError(f"{folder}: expected a folder that can be read, got: {reason}") from error
    here = (place.st_dev, place.st_ino)
    if here in above:
        skipped[LOOP] += 1
        return
    for entry in listed:
        # Among them those that macOS puts beside each file of a foreign disk: ._frame.png is no image.
        if entry.name.startswith("."):
            skipped[HIDDEN] += 1
            continue
        path, suffix = Path(entry.path), os.path.splitext(entry.name)[1].lower()
        wanted = suffix in suffixes
        if entry.is_symlink() and (wanted or inside):
            check_link(path)
        if entry.is_dir():
            if inside:
                yield from _walk(path, suffixes, inside, skipped, (*above, here))
            else:
                skipped[FOLDER] += 1
        elif not wanted:
            skipped[OTHER_KIND] += 1
        elif entry.is_file():
            yield path
        else:
            skipped[NO_FILE] += 1


def check_link(path: Path) -> None:
    """Raise DataError for a link that leads nowhere: what it stood for is missing, not absent."""
    if not path.is_symlink():
        return
    try:
        os.stat(path)
    except OSError as error:
        reason = error.strerror or error
        raise DataError(
            f"{path}: expected a link to what is there, got one to {os.readlink(path)} ({reason})"
        ) from error
