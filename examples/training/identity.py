"""What the frames of a run are, wherever they lie: their number, and the names, sizes and content of their files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.data import Dataset, Subset

from depthattn.data import NYUDepthV2, RGBDList, Sample
from training.checkpoint import CheckpointError
from training.settings import Settings
from training.sources import Source

_PARTS = {"train": "to train on", "validation": "to score"}
_FACTS = {"names": "names", "sizes": "sizes of files", "content": "content of files"}

# Reading all of a large data set takes as long as an epoch. The files share this many bytes; small sets are read whole.
_READ = 64 << 20
_BLOCK = 4096


def identity(source: Source, settings: Settings) -> dict[str, dict[str, Any]]:
    """Facts about both splits that differ as soon as a frame, its name, its place or the size of a file does.

    Of the content, blocks of each file are compared, 64 MiB of a split in all; up to that size, everything. Times of
    change do not count, since a copy has others: the facts are the same for frames that were moved as a whole.
    """
    splits: dict[str, Dataset[Sample]] = {"train": source.train, "validation": source.validation}
    return {part: _facts(frames, settings) for part, frames in splits.items()}


def check_identity(saved: Mapping[str, Any], source: Source, settings: Settings, where: Path) -> None:
    """Compare the frames of a run that goes on with what :func:`identity` said as it began.

    Raises:
        CheckpointError: they differ; the message says in what.
    """
    for part, found in identity(source, settings).items():
        before = saved.get(part)
        if not isinstance(before, dict):
            raise CheckpointError(f"{where}: expected facts about the frames {_PARTS[part]}, got {before!r:.60}")
        if before.keys() != found.keys():
            got = ", ".join(map(str, before)) or "nothing"
            raise CheckpointError(
                f"{where}: expected a run of this build, with {', '.join(found)} of the frames {_PARTS[part]}, got "
                f"one of another build, with {got}; start again without --resume"
            )
        if before["frames"] != found["frames"]:
            raise CheckpointError(
                f"--resume: expected the {before['frames']} frames {_PARTS[part]} that the run was started with, got "
                f"{found['frames']}"
            )
        for fact, words in _FACTS.items():
            if before[fact] != found[fact]:
                raise CheckpointError(
                    f"--resume: expected the frames {_PARTS[part]} that the run was started with, got other {words}"
                )


def _facts(frames: Dataset[Sample], settings: Settings) -> dict[str, Any]:
    base, indices = _unwrapped(frames)
    names: Iterable[object] = indices
    files: Sequence[Path | None] = ()
    if isinstance(base, NYUDepthV2) and settings.nyu is not None:
        names = [base.frames[index] for index in indices]
        files = [settings.nyu]
    elif isinstance(base, RGBDList):
        kinds = list(zip(*(base.frames[index][:3] for index in indices), strict=True))
        names = [name for kind in kinds for name in _below_common_folder(kind)]
        files = [file for kind in kinds for file in kind]
    sizes = [0 if file is None else file.stat().st_size for file in files]
    return {
        "frames": len(indices),
        "names": _digest(names),
        "sizes": _digest(sizes),
        "content": _digest_of_content(files, sizes),
    }


def _unwrapped(frames: Any) -> tuple[Any, Sequence[int]]:
    """The dataset that frames are read from, and their indices there."""
    if isinstance(frames, Subset):
        base, indices = _unwrapped(frames.dataset)
        return base, [indices[index] for index in frames.indices]
    # What transforms or keeps the frames of another dataset, one by one.
    if isinstance(inner := getattr(frames, "frames", None), Dataset):
        return _unwrapped(inner)
    return frames, range(len(frames))


def _below_common_folder(files: Sequence[Path | None]) -> list[str]:
    folders = [os.path.dirname(os.path.abspath(file)) for file in files if file is not None]
    common = os.path.commonpath(folders) if folders else ""
    return ["" if file is None else os.path.relpath(file, common) for file in files]


def _digest(values: Iterable[object]) -> str:
    lines = "\n".join(map(str, values))
    return hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest()


def _digest_of_content(files: Sequence[Path | None], sizes: Sequence[int]) -> str:
    digest = hashlib.sha256()
    blocks = max(2, _READ // (_BLOCK * max(1, len(files))))
    for path, size in zip(files, sizes, strict=True):
        if path is None:
            continue
        with path.open("rb") as file:
            if size <= blocks * _BLOCK:
                digest.update(file.read())
                continue
            for block in range(blocks):
                # From the first block to the last: compressed formats end in a checksum.
                file.seek(block * (size - _BLOCK) // (blocks - 1))
                digest.update(file.read(_BLOCK))
    return digest.hexdigest()
