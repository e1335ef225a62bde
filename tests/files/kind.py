"""A kind of file, and what the kinds share: damage to one file of several, and code that hides in a pickle."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from tests.files.damage import Random, pick


class Kind(NamedTuple):
    """``make(folder)`` writes whole files, ``spoil(folder, random)`` damages them, ``read(folder)`` reads all."""

    name: str
    make: Callable[[Path], object]
    spoil: Callable[[Path, Random], object]
    read: Callable[[Path], object]


class Payload:
    """Pickled, it makes a folder ``hacked`` where it is unpickled without care."""

    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.mkdir, ("hacked",)


def spoils(*names: str, by: Callable[[bytes, Random], bytes]) -> Callable[[Path, Random], object]:
    """Damages one of the named files."""

    def spoil(folder: Path, random: Random) -> None:
        path = folder / pick(random, names)
        path.write_bytes(by(path.read_bytes(), random))

    return spoil
