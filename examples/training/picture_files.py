"""From settings to frames in files: lists, and folders in a layout that is recognised."""

from __future__ import annotations

import logging
import os
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from depthattn.data import DataError, RGBDList
from depthattn.data.depth_files import DepthCoding, too_far
from depthattn.data.frame_lists import FrameList, read_list
from depthattn.data.frame_paths import FramePaths
from depthattn.data.label_files import LabelCoding, given_labels
from depthattn.data.layouts import find_layout
from depthattn.data.walk import in_words
from scripting.console import frame_progress, new_console
from training.hold_out import hold_out, leak
from training.settings import Settings

_LINES_PER_UPDATE = 100


@dataclass(frozen=True)
class Pictures:
    """Frames to train on and to score, what they are, and what a reader should know of them."""

    title: str
    notes: tuple[str, ...]
    train: RGBDList
    validation: RGBDList


@dataclass(frozen=True)
class _Found:
    """Frames before they are told apart; ``folders`` has the folder that each is held out with."""

    name: str
    words: str
    notes: list[str]
    train: list[FramePaths]
    validation: list[FramePaths] | None
    folders: list[Path]
    has_labels: bool
    labels: LabelCoding | None = None
    missing_depth: tuple[float, ...] = ()


def open_pictures(settings: Settings) -> Pictures:
    """Find the frames of both parts; files are looked at, none is read.

    Raises:
        DataError: a file, a line or a folder that does not fit, named in the message.
    """
    found = _from_lists(settings, settings.list) if settings.list is not None else _from_folders(settings)
    notes = found.notes
    if found.validation is not None and settings.hold_out is not None:
        raise DataError(f"{found.name}: expected no split beside --hold-out, got one of its own ({found.words})")
    if found.validation is None:
        parts = hold_out(found.train, found.folders, settings.hold_out, found.name)
        train, validation, how, warning = parts
    else:
        train, validation, how = found.train, found.validation, ""
        warning = leak(train, validation)
    if warning is not None:
        notes.append(f"warning: {warning}")
    counts = len(train[: settings.train_frames]), len(validation[: settings.val_frames])
    title = f"{found.name} ({found.words}), {counts[0]} frames to train on, {counts[1]} to score"
    depth = DepthCoding(settings.depth_scale, settings.depth_code, found.missing_depth)
    labels = _label_coding(settings, found)
    scored = replace(depth, scale=settings.val_depth_scale or settings.depth_scale)
    for part, coding in ((train, depth), (validation, scored)):
        first = next((frame.depth for frame in part if frame.depth is not None), None)
        far = None if first is None else too_far(first, coding, settings.max_depth)
        if far is not None:
            notes.append(f"warning: {far}")
    if _silent():
        logging.getLogger("depthattn").setLevel(logging.ERROR)
    frames = RGBDList.from_frames(train, depth, labels)
    return Pictures(title + f" ({how})" * bool(how), tuple(notes), frames, frames.with_frames(validation, scored))


def _label_coding(settings: Settings, found: _Found) -> LabelCoding | None:
    if not found.has_labels:
        return None
    coding = given_labels(found.labels, settings.num_classes, settings.ignore_value, settings.first_label)
    if coding is None:
        raise DataError(f"{found.name}: expected --num-classes K, the number of classes in its labels, got none")
    return coding


def _from_lists(settings: Settings, path: Path) -> _Found:
    train = _open_list(path, settings.root, settings)
    second = None
    if settings.val_list is not None:
        second = _open_list(settings.val_list, settings.val_root or settings.root, settings)
    notes = []
    for listed, found in ((path, train), (settings.val_list, second)):
        if found is not None and found.unread is not None:
            notes.append(f"{listed}: the column of {found.unread} is not read; if it holds labels, say --num-classes K")
        if found is not None and settings.root is None and found.root != listed.parent:
            notes.append(f"{listed}: its lines start from {found.root}")
    return _Found(
        str(path),
        train.words,
        notes,
        train.frames,
        None if second is None else second.frames,
        [frame.image.parent for frame in train.frames],
        train.has_labels or (second is not None and second.has_labels),
    )


def _open_list(path: Path, root: Path | None, settings: Settings) -> FrameList:
    with frame_progress(new_console(quiet=_silent())) as progress:
        task = progress.add_task(f"looking for the files of {path.name}", total=None)

        def update(done: int, total: int) -> None:
            if done % _LINES_PER_UPDATE == 0:
                progress.update(task, completed=done, total=total)

        return read_list(path, root, labelled=settings.num_classes is not None, on_line=update)


def _silent() -> bool:
    # What all processes of a machine meet is said by one of them.
    return os.environ.get("LOCAL_RANK", "0") != "0"


def _from_folders(settings: Settings) -> _Found:
    layouts = [find_layout(folder, settings.layout) for folder in settings.folders]
    others = [find_layout(folder, settings.layout) for folder in settings.val_folders]
    # What is given for validation is scored, whatever it is called there.
    scored = [other.validation or other.train for other in others] or [
        layout.validation for layout in layouts if layout.validation is not None
    ]
    several = len(layouts) > 1
    known = [*layouts, *others]
    skipped: Counter[str] = Counter()
    for layout in known:
        skipped.update(layout.skipped)
    return _Found(
        " ".join(map(str, settings.folders)),
        "; ".join(dict.fromkeys(f"{layout.name}: {layout.words}" for layout in known)),
        [in_words(skipped)] if skipped else [],
        [frame for layout in layouts for frame in layout.train],
        [frame for frames in scored for frame in frames] if scored else None,
        [
            folder if several else frame.image.parent
            for folder, layout in zip(settings.folders, layouts, strict=True)
            for frame in layout.train
        ],
        any(layout.has_labels for layout in known),
        next((layout.labels for layout in known if layout.labels is not None), None),
        tuple({number for layout in known for number in layout.missing_depth}),
    )
