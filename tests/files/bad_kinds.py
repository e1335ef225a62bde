"""Readers that misbehave, each in one of the ways that the judge has to notice."""

from __future__ import annotations

import os
import urllib.request
from pathlib import Path
from typing import Any

from tests.files.kind import Kind

hoard: list[Any] = []


def _on_damage(act: Any) -> Any:
    def read(folder: Path) -> None:
        if (folder / "file").read_bytes() != b"whole":
            act(folder)

    return read


def _multi_line(_: Path) -> None:
    raise ValueError("file: expected one line,\ngot two")


def _silent(_: Path) -> None:
    raise ValueError("file: expected five letters, got others")


_ACTS = {
    "says so": _silent,
    "says so in two lines": _multi_line,
    "raises what Python raised": lambda folder: int((folder / "file").read_bytes()),
    "raises what is no error of a value": lambda _: {}["missing"],
    "dies": lambda _: os.abort(),
    "hoards": lambda _: hoard.append(bytearray(b"x") * 2**28),
    "asks for more than there is": lambda _: hoard.append(bytearray(2**34)),
    "leaves a file": lambda folder: (folder / "left").write_text(""),
    "runs what it reads": lambda _: os.mkdir("hacked"),
    "asks the network": lambda _: urllib.request.urlopen("http://example.org"),
}

KINDS = tuple(
    Kind(
        name,
        lambda folder: (folder / "file").write_bytes(b"whole"),
        lambda folder, random: (folder / "file").write_bytes(b"damaged"),
        _on_damage(act),
    )
    for name, act in _ACTS.items()
)
