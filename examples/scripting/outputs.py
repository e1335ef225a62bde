"""Folders that results go to, checked before any work is done for them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path


def check_output(option: str, folder: Path) -> None:
    """Find out whether files can be made in ``folder``, which need not be there yet; nothing is left behind.

    Args:
        option: where the folder comes from, as ``--output``.
        folder: the folder.

    Raises:
        ValueError: a file is in the way, or nothing can be written there; the message says what and where.
    """
    expected = f"{option} {folder}: expected a folder that can be written to"
    try:
        nearest = _nearest(folder)
        if not nearest.is_dir():
            raise ValueError(f"{expected}, got {nearest}, which is no folder")
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise ValueError(f"{expected}, got: {error.strerror or error}") from error


def check_free(option: str, folder: Path, results: Sequence[str], *, overwrite: bool) -> None:
    """Find out whether files can be made in ``folder`` without replacing any unasked.

    Args:
        option: where the folder comes from, as ``--output``.
        folder: the folder.
        results: names of the files to come.
        overwrite: whether they may replace what is there.

    Raises:
        ValueError: nothing can be written there, or one of the files is there already.
    """
    check_output(option, folder)
    present = [name for name in results if os.path.lexists(folder / name)]
    if present and not overwrite:
        raise ValueError(
            f"{option} {folder}: expected a folder without results, got earlier ones ({', '.join(present)}); "
            "--overwrite replaces them"
        )


def _nearest(folder: Path) -> Path:
    """The folder itself, or what is there of the path to it; a link counts wherever it leads."""
    for part in (folder, *folder.parents):
        try:
            os.lstat(part)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return part
    return Path(os.curdir)
