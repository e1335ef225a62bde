"""Folders of frames as other projects lay them out, recognised by what is there."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from depthattn.data.codes import DEPTH_SUFFIXES, LABEL_SUFFIXES
from depthattn.data.errors import DataError
from depthattn.data.frame_folders import IMAGE_SUFFIXES, by_stem, match_folders
from depthattn.data.frame_paths import FramePaths
from depthattn.data.hdf5 import FRAME_SUFFIXES
from depthattn.data.label_files import LabelCoding
from depthattn.data.walk import check_link, find_files

_DEPTHS = ("depths", "depth")
_LABELS = ("labels", "masks", "segmentation")
_TRAIN = ("train",)
_VALIDATION = ("val", "valid", "validation", "test")


@dataclass(frozen=True)
class Layout:
    """Frames of a folder, as :func:`find_layout` finds them.

    Args:
        name: of the layout.
        words: what was found, for the reader.
        train: the frames to train on; all, where the layout has no split.
        validation: the frames to score; None where the layout has no split.
        labels: how its label files are stored, where the layout says that; None where it does not.
        missing_depth: numbers that stand for missing depth in it, beside those that always do.
        skipped: how many files were left out, by reason.

    Example:
        >>> from depthattn.data import Layout
        >>> Layout("folders", "images/ depths/", train=[]).has_labels
        False
    """

    name: str
    words: str
    train: list[FramePaths]
    validation: list[FramePaths] | None = None
    labels: LabelCoding | None = None
    missing_depth: tuple[float, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)

    @property
    def has_labels(self) -> bool:
        """Whether any frame has labels."""
        frames = self.train + (self.validation or [])
        return any(frame.labels is not None for frame in frames)


def find_layout(folder: str | os.PathLike[str], name: str | None = None) -> Layout:
    """Find the frames of a folder in one of the common layouts.

    ======================  ================================================================================
    ``"nyud-mt"``           ``images/ depth/ segmentation/`` and ``gt_sets/train.txt``, ``gt_sets/val.txt``
    ``"split-inside"``      ``images/train``, ``depth/train``, ``masks/train`` and the same with ``val``
    ``"folders"``           ``images/``, with ``depths/`` or ``depth/``, ``labels/`` or ``masks/`` or both
    ``"split-outside"``     ``train/images``, ``train/depths`` and so on, and the same in ``val``
    ``"hdf5"``              files with ``rgb`` and ``depth`` of one frame each, in ``train/`` and ``val/`` or not
    ======================  ================================================================================

    The files of a frame have the same name up to the suffix, and the same folder inside these. For ``val`` there may
    also be ``valid``, ``validation`` or ``test``.

    Args:
        folder: where the data lie.
        name: of the layout. None: the first of the table that looks like what is there.

    Returns:
        The frames, for :meth:`RGBDList.from_frames`.

    Raises:
        DataError: no such layout is there, or its files do not fit together.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> from depthattn.data import find_layout
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for part in ("train", "val"):
        ...         for kind, suffix in (("images", "jpg"), ("depth", "npy")):
        ...             Path(folder, kind, part).mkdir(parents=True)
        ...             Path(folder, kind, part, f"0.{suffix}").touch()
        ...     layout = find_layout(folder)
        >>> layout.name, len(layout.train), len(layout.validation)
        ('split-inside', 1, 1)
    """
    folder = Path(folder)
    # What tells layouts apart must not be taken for absent.
    for part in ("images", "gt_sets", *_TRAIN):
        check_link(folder / part)
    if name is None:
        name = next((name for name, layout in _KNOWN.items() if layout.fits(folder)), None)
    if name is None:
        found = ", ".join(sorted(entry.name for entry in folder.iterdir())[:6]) if folder.is_dir() else "no folder"
        looks = "; ".join(f"{name}: {layout.looks}" for name, layout in _KNOWN.items())
        raise DataError(
            f"find_layout: {folder}: expected frames in a layout that is known ({looks}), got {found or 'nothing'}"
        )
    if name not in _KNOWN:
        raise ValueError(f"find_layout: expected a layout of {', '.join(_KNOWN)}, got {name!r}")
    layout = _KNOWN[name]
    if not layout.fits(folder):
        raise DataError(f"{folder}: expected the layout {name} ({layout.looks}), got none of it")
    skipped: Counter[str] = Counter()
    frames = layout.read(folder, skipped)
    if not frames.train:
        raise DataError(f"{folder}: expected frames to train on in the layout {name} ({layout.looks}), got none")
    return replace(frames, skipped=skipped)


def _child(folder: Path, names: Sequence[str]) -> Path | None:
    for name in names:
        check_link(folder / name)
        if (folder / name).is_dir():
            return folder / name
    return None


def _targets(folder: Path, names: Sequence[str], suffixes: frozenset[str]) -> Path | None:
    """The first of the folders that has a file of these kinds: boxes of a detector are no labels of pixels."""
    found = _child(folder, names)
    return found if found is not None and find_files(found, suffixes, inside=True).files else None


def _matched(
    images: Path, depths: Path | None, labels: Path | None, where: Path, skipped: Counter[str]
) -> list[FramePaths]:
    if depths is None and labels is None:
        raise DataError(f"{where}: expected a folder depths/ or labels/ beside images/, got neither")
    return match_folders(images, depths, labels, skipped)


def _frames_of(folder: Path, skipped: Counter[str]) -> list[FramePaths]:
    depths = _targets(folder, _DEPTHS, DEPTH_SUFFIXES)
    labels = _targets(folder, _LABELS, LABEL_SUFFIXES)
    return _matched(folder / "images", depths, labels, folder, skipped)


def _folders(folder: Path, skipped: Counter[str]) -> Layout:
    names = [path.name for path in (_child(folder, _DEPTHS), _child(folder, _LABELS)) if path is not None]
    return Layout("folders", " ".join(f"{name}/" for name in ["images", *names]), _frames_of(folder, skipped))


def _split_inside(folder: Path, skipped: Counter[str]) -> Layout:
    """``images/train``, ``depth/train``: kinds outside, splits inside."""
    splits: list[list[FramePaths] | None] = []
    for names in (_TRAIN, _VALIDATION):
        images = _child(folder / "images", names)
        if images is None:
            splits.append(None)
            continue
        depths, labels = (
            _targets(parent, (images.name,), suffixes) if (parent := _child(folder, kinds)) is not None else None
            for kinds, suffixes in ((_DEPTHS, DEPTH_SUFFIXES), (_LABELS, LABEL_SUFFIXES))
        )
        splits.append(_matched(images, depths, labels, images, skipped))
    train, validation = splits
    return Layout("split-inside", "images/ with splits inside", train or [], validation)


def _split_outside(folder: Path, skipped: Counter[str]) -> Layout:
    """``train/images``, ``train/depths``: splits outside, kinds inside."""
    validation = _child(folder, _VALIDATION)
    return Layout(
        "split-outside",
        f"train/{'' if validation is None else f' {validation.name}/'} with images/ inside",
        _frames_of(folder / "train", skipped),
        None if validation is None else _frames_of(validation, skipped),
    )


def _nyud_mt(folder: Path, skipped: Counter[str]) -> Layout:
    """The copy of NYU Depth v2 that multi-task repositories share: 40 classes behind 0, which is unlabelled."""
    images = by_stem("images", folder / "images", IMAGE_SUFFIXES, skipped)
    depths, labels = (
        {} if (found := _targets(folder, names, suffixes)) is None else by_stem(names[0], found, suffixes, skipped)
        for names, suffixes in ((_DEPTHS, DEPTH_SUFFIXES), (_LABELS, LABEL_SUFFIXES))
    )
    splits = []
    for names in (_TRAIN, _VALIDATION):
        listed = _list_of(folder / "gt_sets", names)
        splits.append(None if listed is None else _named(listed, images, depths, labels))
    train, validation = splits
    if train is None:
        raise DataError(f"{folder / 'gt_sets'}: expected a file train.txt with the names of frames, got none")
    coding = LabelCoding(num_classes=40, ignore_value=0, first_label=1) if labels else None
    return Layout("nyud-mt", "NYUD-MT, splits of gt_sets/", train, validation, coding, missing_depth=(255.0,))


def _list_of(folder: Path, names: Sequence[str]) -> Path | None:
    for path in (folder / f"{name}.txt" for name in names):
        check_link(path)
        if path.is_file():
            return path
    return None


def _named(listed: Path, images: dict[str, Path], depths: dict[str, Path], labels: dict[str, Path]) -> list[FramePaths]:
    try:
        lines = listed.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{listed}: expected names of frames in UTF-8 text, got {error}") from error
    frames = []
    for number, line in enumerate(lines, start=1):
        name = line.strip()
        if not name:
            continue
        for kind, files in (("image", images), ("depth", depths), ("labels", labels)):
            if files and name not in files:
                raise DataError(f"{listed} line {number}: expected {kind} of the name {name!r}, got none")
        frames.append(FramePaths(images[name], depths.get(name), labels.get(name), None))
    if not frames:
        raise DataError(f"{listed}: expected names of frames, got none")
    return frames


def _hdf5(folder: Path, skipped: Counter[str]) -> Layout:
    """A file with ``rgb`` and ``depth`` for each frame, as sparse-to-dense has NYU and KITTI."""
    train, validation = _child(folder, _TRAIN), _child(folder, _VALIDATION)
    splits = [
        None if path is None else [FramePaths(file, file, None, None) for file in _hdf5_files(path, skipped)]
        for path in (train or folder, validation if train else None)
    ]
    return Layout("hdf5", "an HDF5 file for each frame", splits[0] or [], splits[1])


def _hdf5_files(folder: Path, skipped: Counter[str]) -> Sequence[Path]:
    found = find_files(folder, FRAME_SUFFIXES, inside=True)
    skipped.update(found.skipped)
    return found.files


def _has_hdf5(folder: Path) -> bool:
    return folder.is_dir() and bool(_hdf5_files(folder, Counter()))


@dataclass(frozen=True)
class _Known:
    looks: str
    fits: Callable[[Path], bool]
    read: Callable[[Path, Counter[str]], Layout]


# Those that ask for more come first.
_KNOWN = {
    "nyud-mt": _Known(
        "images/ depth/ segmentation/ gt_sets/",
        lambda folder: (folder / "gt_sets").is_dir() and (folder / "images").is_dir(),
        _nyud_mt,
    ),
    "split-inside": _Known(
        "images/train/ and depth/train/ or masks/train/",
        lambda folder: (folder / "images" / "train").is_dir(),
        _split_inside,
    ),
    "folders": _Known("images/ and depths/ or labels/", lambda folder: (folder / "images").is_dir(), _folders),
    "split-outside": _Known(
        "train/images/ and train/depths/ or train/labels/",
        lambda folder: (folder / "train" / "images").is_dir(),
        _split_outside,
    ),
    "hdf5": _Known("h5 files with rgb and depth", _has_hdf5, _hdf5),
}
LAYOUTS = tuple(_KNOWN)
