"""Folders that results go to, checked before any work is done for them, and files that are whole or not there."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO


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


def write_whole(path: Path, save: Callable[[BinaryIO], object], sync: Callable[[Path], object] | None = None) -> None:
    """Make a file in memory, write it beside its place, and move it there.

    Args:
        path: of the file.
        save: called with what it is to write to.
        sync: called with the path of what is written, before that is moved.

    Raises:
        OSError: it cannot be written; the message names it, and what was there is there still.
    """
    content = io.BytesIO()
    save(content)
    # No longer than its name, which may be as long as the file system takes.
    writing = path.with_name(f".{os.getpid()}.writing")
    try:
        writing.write_bytes(content.getbuffer())
        if sync is not None:
            sync(writing)
        os.replace(writing, path)
    except OSError as error:
        # A full disk names no file.
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        writing.unlink(missing_ok=True)


def save_figure(figure: Any, path: Path, **options: Any) -> None:
    """``figure.savefig``, whole or not at all; the suffix of ``path`` is the format."""
    write_whole(path, lambda file: figure.savefig(file, format=path.suffix[1:], **options))


def _nearest(folder: Path) -> Path:
    """The folder itself, or what is there of the path to it; a link counts wherever it leads."""
    for part in (folder, *folder.parents):
        try:
            os.lstat(part)
        except (FileNotFoundError, NotADirectoryError):
            continue
        return part
    return Path(os.curdir)
