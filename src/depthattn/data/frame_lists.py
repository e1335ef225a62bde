"""Frames that a list names: BTS' and Marigold's text files, csv files, with a header or without one."""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from depthattn.data.errors import DataError
from depthattn.data.frame_paths import FramePaths, KnownFiles

_NAMES = {
    "image": (
        "image",
        "images",
        "rgb",
        "img",
        "color",
        "colour",
        "photo",
        "input",
        "image_path",
        "rgb_path",
        "filename",
    ),
    "depth": ("depth", "depths", "gt", "target", "depth_path", "depth_map", "gt_path"),
    "labels": ("labels", "label", "mask", "masks", "seg", "segmentation", "semantic", "semantics", "label_path"),
    "focal": ("focal", "focal_length", "fx"),
}
_COLUMN_OF = {name: column for column, names in _NAMES.items() for name in names}
_SEPARATORS = {"\t": "tab", ",": "comma", " ": "blank"}
# Quoted, or up to the next blank.
_WORD = re.compile(r'"([^"]*)"|(\S+)')
_MISSING = frozenset({"None", "none", "", "nan", "NaN"})

OnLine = Callable[[int, int], object]


class FrameList(NamedTuple):
    """What a list holds.

    Attributes:
        frames: one for each line.
        words: how it was read, for the reader.
        has_labels: whether a column names label files.
        unread: a file of a third column that is not read, as nothing says what it is; None where there is none.
        root: folder that its lines start from.
    """

    frames: list[FramePaths]
    words: str
    has_labels: bool
    unread: str | None
    root: Path


class _Line(NamedTuple):
    number: int
    text: str


def read_list(
    list_file: Path, root: Path | None = None, *, labelled: bool = False, on_line: OnLine | None = None
) -> FrameList:
    """Frames of a list with two to four columns: image, depth, and labels or a focal length.

    Columns are separated by commas, tabs or blanks; names may stand in double quotes. A header may name the columns,
    in any order. Paths are below ``root`` with or without a leading slash; ``None`` as depth or labels is a frame
    without; blank lines and lines that start with # are passed over.

    Args:
        list_file: the list.
        root: folder that the lines start from. None: that of the list, the first above it that has the first image, or
            the root of the file system, if the lines hold absolute paths.
        labelled: whether a third column of files that no header names holds labels; it is not read otherwise.
        on_line: called with the number of lines that are done and of all.

    Raises:
        DataError: a list that does not parse, or names a missing file.
    """
    lines = _lines(list_file)
    if root is not None and not root.is_dir():
        raise DataError(
            f"RGBDList: expected root to be the folder that the lines of {list_file} start from, got {root}"
        )
    if not lines:
        raise DataError(f"RGBDList: {list_file}: expected at least one line that names an image and a depth, got none")
    known = KnownFiles()
    above = list_file.absolute().parent.parents
    roots = [root] if root is not None else [list_file.parent, *above[:2], Path(list_file.absolute().anchor)]
    separator = _separator(lines[0].text, lambda name: any(_there(known, folder, name) for folder in roots))
    header = _header(_cells(lines[0].text, separator))
    rows = lines[1:] if header else lines
    if not rows:
        raise DataError(f"RGBDList: {list_file}: expected lines below the header, got none")
    first = _cells(rows[0].text, separator)
    image = header.index("image") if header else 0
    start = next((folder for folder in roots if image < len(first) and _there(known, folder, first[image])), roots[0])
    where = f"RGBDList: {list_file} line {rows[0].number}"
    columns = header or _columns(first, labelled, lambda name: _there(known, start, name), where)
    frames = []
    for done, (number, text) in enumerate(rows, start=1):
        where = f"RGBDList: {list_file} line {number}"
        frames.append(_frame(_cells(text, separator), columns, os.fspath(start), known, where))
        if on_line is not None:
            on_line(done, len(rows))
    named = ", ".join(column for column in columns if column)
    unread = next((cell for cell, column in zip(first, columns, strict=False) if column == ""), None)
    words = f"a list of {named}, {_SEPARATORS[separator]}-separated" + ", with a header" * bool(header)
    return FrameList(frames, words, "labels" in columns, None if header else unread, start)


def _lines(list_file: Path) -> list[_Line]:
    try:
        text = list_file.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"RGBDList: {list_file}: expected a list of image files, got {reason}") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"RGBDList: {list_file}: expected a list in UTF-8 text, got byte {error.start} outside it"
        ) from error
    numbered = (_Line(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1))
    return [line for line in numbered if line.text and not line.text.startswith("#")]


def _there(known: KnownFiles, root: Path, name: str) -> bool:
    return known.has(os.path.join(root, name.lstrip("/")))


def _separator(line: str, is_file: Callable[[str], bool]) -> str:
    """What separates the columns of a first line: commas and blanks may also be in names."""
    possible = [separator for separator in _SEPARATORS if len(_cells(line, separator)) > 1] or [" "]
    split = {separator: _cells(line, separator) for separator in possible}
    fitting = (mark for mark, cells in split.items() if _header(cells) or (cells and is_file(cells[0])))
    return next(fitting, possible[0])


def _cells(line: str, separator: str) -> list[str]:
    if separator == " ":
        return [quoted or plain for quoted, plain in _WORD.findall(line)]
    try:
        return [cell.strip() for cell in next(csv.reader([line], delimiter=separator, skipinitialspace=True))]
    except (csv.Error, StopIteration):
        return [cell.strip() for cell in line.split(separator)]


def _header(cells: Sequence[str]) -> list[str] | None:
    """The columns that a first line names; None where it names no image and no depth, as the line of a frame."""
    columns = [_COLUMN_OF.get(cell.strip().lower(), "") for cell in cells]
    named = [column for column in columns if column]
    return columns if "image" in named and len(named) == len(set(named)) >= 2 else None


def _columns(first: Sequence[str], labelled: bool, is_file: Callable[[str], bool], where: str) -> list[str]:
    """What the columns of a list without a header are."""
    if not 2 <= len(first) <= 4:
        raise _wrong_count(where, len(first))
    columns = ["image", "depth"]
    for cell in first[2:]:
        column = "labels" if labelled else ""
        if _number(cell) is not None:
            column = "focal"
        elif cell not in _MISSING and not is_file(cell):
            raise DataError(f"{where}: expected labels or a focal length in pixels as third column, got {cell!r}")
        if column and column in columns:
            raise DataError(f"{where}: expected columns image, depth, labels, focal, got two of {column}")
        columns.append(column)
    return columns


def _wrong_count(where: str, count: int) -> DataError:
    return DataError(
        f"{where}: expected 2 to 4 columns (image, depth, labels, focal), separated by commas, tabs or blanks, with "
        f"quotes around names that hold one of these, got {count}"
    )


def _frame(cells: Sequence[str], columns: Sequence[str], root: str, known: KnownFiles, where: str) -> FramePaths:
    # A list of BTS has a focal length on some lines only.
    if not 2 <= len(cells) <= max(len(columns), 3):
        raise _wrong_count(where, len(cells))
    of = dict(zip(columns, cells, strict=False))
    if "focal" not in columns and len(cells) > len(columns):
        of["focal"] = cells[len(columns)]
    paths: dict[str, Path | None] = {}
    for column in ("image", "depth", "labels"):
        cell = of.get(column, "")
        # As text: a Path for each look would take longer than the looks.
        path = None if cell in _MISSING else os.path.join(root, cell.lstrip("/"))
        if (path is None and column == "image") or (path is not None and not known.has(path)):
            raise DataError(f"{where}: expected an existing file, got {path}")
        paths[column] = None if path is None else Path(path)
    image = paths["image"]
    assert image is not None
    focal = None if of.get("focal", "") in ("", "None") else _focal(where, of["focal"])
    return FramePaths(image, paths["depth"], paths["labels"], focal)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _focal(where: str, text: str) -> float:
    focal = _number(text)
    if focal is None or not (math.isfinite(focal) and focal > 0):
        raise DataError(f"{where}: expected a focal length in pixels as third column, got {text!r}")
    return focal
