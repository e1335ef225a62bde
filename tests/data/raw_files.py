"""Files byte by byte, as no library writes them on request: small bit depths, odd largest values."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]

GREY, PALETTE = 0, 3


def write_png(path: Path, values: Array, bits: int, colour: int = GREY) -> Path:
    """A png of one channel and ``bits`` bits; a palette's colours are unlike its indices."""
    height, width = values.shape
    if bits == 16:
        rows = values.astype(">u2").view(np.uint8).reshape(height, -1)
    else:
        each = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1)[..., 8 - bits :]
        rows = np.packbits(each.reshape(height, -1), axis=-1)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)
    colours = bytes((255 - 7 * number) % 256 for number in range(3 * 2 ** min(bits, 8)))
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))]
    chunks += [(b"PLTE", colours)] * (colour == PALETTE)
    chunks += [(b"IDAT", zlib.compress(lines.tobytes())), (b"IEND", b"")]
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(content)
    return path


def write_pgm(path: Path, values: Array, largest: int, *, plain: bool = False, comment: str = "") -> Path:
    """A grey map in binary, or ``plain`` in text, that says how large its numbers can be."""
    height, width = values.shape
    note = f"# {comment}\n" if comment else ""
    head = f"{'P2' if plain else 'P5'}\n{note}{width} {height}\n{largest}\n".encode()
    numbers = values.astype(">u2" if largest > 255 else np.uint8).tobytes()
    text = "\n".join(" ".join(map(str, row)) for row in values.tolist()).encode()
    path.write_bytes(head + (text if plain else numbers))
    return path
