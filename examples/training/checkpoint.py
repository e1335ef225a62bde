"""Checkpoints: a folder of safetensors files and one info.json, complete or not there at all.

A checkpoint is written beside its final place, flushed to disk, and moved there by a rename, so a reader
never sees half of one. The one it replaces is kept as ``<name>.previous``. info.json records the size and
the SHA-256 of every tensor file, so damage is found at load. Nothing in a checkpoint is ever unpickled.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save_file
from torch import Tensor

from depthattn._messages import reason_of
from scripting.messages import warn_once
from scripting.outputs import write_whole
from training.facts import RecordError

INFO = "info.json"

# What means that the data themselves did not arrive. Any other error is of a file system that does not sync.
_LOST = frozenset({errno.EIO, errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class CheckpointError(RecordError):
    """A checkpoint that is missing, incomplete or damaged."""


@dataclass(frozen=True)
class Checkpoint:
    """What was saved: tensors by file stem, then by name, and JSON-able facts, which are in the file ``path``."""

    path: Path
    tensors: dict[str, dict[str, Tensor]]
    info: dict[str, Any]


def save(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], info: Mapping[str, Any]) -> None:
    """Write a checkpoint to ``folder``, replacing the one there in a single step.

    Args:
        folder: the checkpoint's own folder.
        tensors: tensors by name, by file stem: ``{"model": model.state_dict()}`` gives model.safetensors.
        info: JSON-able facts that go with them.
    """
    writing = _sibling(folder, "writing")
    shutil.rmtree(writing, ignore_errors=True)
    writing.mkdir(parents=True)
    try:
        _write(writing, tensors, info)
    except OSError:
        # On a full disk, what was begun would stand in the way of everything else.
        shutil.rmtree(writing, ignore_errors=True)
        raise
    if folder.exists():
        shutil.rmtree(previous(folder), ignore_errors=True)
        os.replace(folder, previous(folder))
    os.replace(writing, folder)
    _flush(folder.parent)


def previous(folder: Path) -> Path:
    """Where the checkpoint is that ``folder`` had before this one."""
    return _sibling(folder, "previous")


def recover(folder: Path) -> tuple[Checkpoint, str]:
    """Load ``folder``, after putting the checkpoint before it in its place if it is damaged or was never completed.

    A damaged checkpoint is kept as ``<name>.damaged``.

    Returns:
        The checkpoint, and what was wrong with the damaged one; "" if there was none.

    Raises:
        CheckpointError: neither can be used.
    """
    try:
        return load(folder), ""
    except CheckpointError as error:
        if not previous(folder).exists():
            raise
        saved = load(previous(folder))
        trouble = ""
        if folder.exists():
            trouble, damaged = str(error), _sibling(folder, "damaged")
            shutil.rmtree(damaged, ignore_errors=True)
            os.replace(folder, damaged)
        os.replace(previous(folder), folder)
        return saved, trouble


def _write(folder: Path, tensors: Mapping[str, Mapping[str, Tensor]], info: Mapping[str, Any]) -> None:
    files = {}
    for stem, group in tensors.items():
        path = folder / f"{stem}.safetensors"
        try:
            save_file({name: tensor.detach().cpu().contiguous() for name, tensor in group.items()}, path)
        except SafetensorError as error:
            raise OSError(f"{path}: {error}") from error
        _flush(path)
        files[path.name] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
    write_json(folder / INFO, {**info, "files": files})
    _flush(folder)


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint, on the CPU, after checking every file against info.json.

    Raises:
        CheckpointError: the folder or a file is missing or damaged; the message names it.
    """
    try:
        info = json.loads((folder / INFO).read_text(encoding="utf-8"))
    except OSError as error:
        raise CheckpointError(f"{folder / INFO}: expected a checkpoint, got {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{folder / INFO}: expected JSON, got {error}") from error
    if not isinstance(info, dict) or "files" not in info:
        found = ", ".join(info) if isinstance(info, dict) else type(info).__name__
        raise CheckpointError(f"{folder / INFO}: expected key 'files', got {found}")
    files = info.pop("files")
    if not isinstance(files, dict) or not all(_is_listed(name, facts) for name, facts in files.items()):
        raise CheckpointError(
            f"{folder / INFO}: expected under 'files' the bytes and the sha256 of files beside it, got {files!r:.100}"
        )
    tensors = {}
    for name, facts in files.items():
        path = folder / name
        content = path.read_bytes() if path.is_file() else None
        if content is None or len(content) != facts["bytes"] or hashlib.sha256(content).hexdigest() != facts["sha256"]:
            found = "no such file" if content is None else f"{len(content)} bytes of other content"
            raise CheckpointError(f"{path}: expected the {facts['bytes']} bytes that {INFO} lists, got {found}")
        try:
            # Not by its path, which safetensors takes as UTF-8 only.
            tensors[path.stem] = load_tensors(content)
        except SafetensorError as error:
            raise CheckpointError(f"{path}: expected safetensors, got {reason_of(error)}") from error
    return Checkpoint(folder / INFO, tensors, info)


def _is_listed(name: str, facts: object) -> bool:
    """Whether an entry of info.json is as :func:`save` writes it: of a file beside it and nowhere else."""
    plain = name == Path(name).name and name.endswith(".safetensors") and name.isprintable()
    return plain and isinstance(facts, dict) and isinstance(facts.get("bytes"), int) and "sha256" in facts


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as indented JSON, whole or not at all."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file, whole or not at all."""
    # A file name may hold bytes that are no text in any encoding.
    content = text.encode("utf-8", "backslashreplace")
    write_whole(path, lambda file: file.write(content), _flush)


def _sibling(path: Path, suffix: str) -> Path:
    return path.with_name(f"{path.name}.{suffix}")


def _flush(path: Path) -> None:
    """Have a file, or the names in a folder, on the disk itself before going on, where its file system can do that."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno in _LOST:
            raise
        warn_once(
            "sync",
            f"{path} cannot be synced to its disk ({error.strerror or error}): the run goes on, but a loss of power "
            "may take the last checkpoint with it",
        )


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()
