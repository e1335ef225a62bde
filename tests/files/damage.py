"""Damage to the content of a file: to its bytes, or to what they say in JSON, YAML, PNG or safetensors."""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Random = np.random.Generator

_EXTREMES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**62, 2**63 - 1, 2**64 - 1)
# Where most formats keep their lengths.
_HEAD = 1024


def pick(random: Random, choices: Sequence[Any]) -> Any:
    return choices[int(random.integers(len(choices)))]


def _place(random: Random, size: int, room: int = 1) -> int:
    """Where ``room`` bytes fit; every second time near the beginning."""
    end = size if random.random() < 0.5 else min(size, _HEAD)
    return int(random.integers(max(end - room + 1, 1)))


def _span(random: Random, size: int) -> slice:
    start = _place(random, size)
    return slice(start, start + int(random.integers(1, 65)))


def _cut_off(data: bytearray, random: Random) -> None:
    del data[_place(random, len(data)) :]


def _flip(data: bytearray, random: Random) -> None:
    for _ in range(int(random.integers(1, 9))):
        data[_place(random, len(data))] ^= int(random.integers(1, 256))


def _extreme_number(data: bytearray, random: Random) -> None:
    size = pick(random, (1, 2, 4, 8))
    at = _place(random, len(data), size)
    # Numbers lie on multiples of their size, as a rule.
    at -= at % size if random.random() < 0.8 else 0
    value = pick(random, _EXTREMES) & (256**size - 1)
    data[at : at + size] = value.to_bytes(size, pick(random, ("little", "big")))


def _delete(data: bytearray, random: Random) -> None:
    del data[_span(random, len(data))]


def _repeat(data: bytearray, random: Random) -> None:
    span = _span(random, len(data))
    data[span.start : span.start] = data[span] * int(random.integers(1, 4))


def _move(data: bytearray, random: Random) -> None:
    """As when the fields of a header change places."""
    a, b = (_span(random, len(data)) for _ in range(2))
    data[a], data[b.start : b.start + a.stop - a.start] = data[b.start : b.start + a.stop - a.start], data[a]


def _noise(data: bytearray, random: Random) -> None:
    span = _span(random, len(data))
    data[span] = random.bytes(span.stop - span.start)


def _blank(data: bytearray, random: Random) -> None:
    span = _span(random, len(data))
    data[span] = bytes(span.stop - span.start)


_BYTE_DAMAGES: tuple[Callable[[bytearray, Random], None], ...] = (
    _cut_off, _flip, _flip, _extreme_number, _extreme_number, _extreme_number, _delete, _repeat, _move, _noise, _blank,
)  # fmt: skip


def damaged_bytes(content: bytes, random: Random) -> bytes:
    """``content`` with one to three faults."""
    data = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        if data:
            pick(random, _BYTE_DAMAGES)(data, random)
    return bytes(data)


_ODD_VALUES: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 3, 10**9, 10**30, 1.5, 1e308, float("nan"), float("inf"), "", "x", "resnet18", "1",
    "../../../etc/passwd", "/etc/passwd", "a\nb", "\0", "\ud800", "timm:resnet18", "hf-hub:a/b", "x" * 5000, [], [[]],
    [-1], [0, 0], [1, 2, 3, 4], ["a"], [10**9, 10**9], [None], {}, {"a": {}}, {"bytes": 0, "sha256": ""},
)  # fmt: skip


def _containers(value: Any) -> list[Any]:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [value, *(found for part in inner for found in _containers(part))] if inner else []


def damaged_json(content: bytes, random: Random) -> bytes:
    """JSON with values that are odd, missing or in each other's place; sometimes no JSON at all."""
    if random.random() < 0.25:
        return damaged_bytes(content, random)
    if random.random() < 0.03:
        return b"[" * 200_000
    value = json.loads(content)
    for _ in range(int(random.integers(1, 4))):
        places = _containers(value)
        if not places:
            break
        place = pick(random, places)
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key, other = pick(random, keys), pick(random, keys)
        change = int(random.integers(4))
        if change == 0:
            del place[key]
        elif change == 1:
            place[key], place[other] = place[other], place[key]
        elif change == 2 and isinstance(place, dict):
            place[pick(random, ("", "a", "..", "../x", "model", "format", "\0"))] = place[key]
        else:
            place[key] = pick(random, _ODD_VALUES)
    return json.dumps(value).encode()


def damaged_safetensors(content: bytes, random: Random) -> bytes:
    """Faults in the bytes, or in the JSON header with its length put right."""
    if random.random() < 0.4:
        return damaged_bytes(content, random)
    size = struct.unpack("<Q", content[:8])[0]
    header = damaged_json(content[8 : 8 + size], random)
    return struct.pack("<Q", len(header)) + header + content[8 + size :]


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def damaged_png(content: bytes, random: Random) -> bytes:
    """Faults in the bytes, or inside of chunks whose checksums are put right."""
    if random.random() < 0.3:
        return damaged_bytes(content, random)
    chunks, at = [], 8
    while at < len(content):
        size = struct.unpack(">I", content[at : at + 4])[0]
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + size]))
        at += size + 12
    index = int(random.integers(len(chunks)))
    kind, data = chunks[index]
    change = int(random.integers(6))
    if change == 0:
        chunks[index] = kind, damaged_bytes(data, random)
    elif change == 1:
        # Size, bits, colour type, compression, filter, interlacing.
        width, height = (int(pick(random, (0, 1, 7, 56, 2**15, 2**31 - 1, 2**32 - 1))) for _ in range(2))
        rest = bytes(int(pick(random, (0, 1, 2, 3, 4, 6, 8, 16, 255))) for _ in range(5))
        chunks[0] = b"IHDR", struct.pack(">II", width, height) + (rest if random.random() < 0.5 else chunks[0][1][8:])
    elif change == 2:
        chunks.insert(index, chunks[int(random.integers(len(chunks)))])
    elif change == 3:
        del chunks[index]
    elif change == 4:
        # Text that expands a thousand times.
        chunks.insert(1, (pick(random, (b"zTXt", b"iCCP")), b"a\0\0" + zlib.compress(bytes(2**23))))
    else:
        kind = pick(random, (b"PLTE", b"tRNS", b"IEND", b"acTL", b"fcTL", b"fdAT", b"eXIf", b"gAMA", b"cHRM", b"pHYs"))
        chunks.insert(index, (kind, random.bytes(int(random.integers(40)))))
    return content[:8] + b"".join(_chunk(*chunk) for chunk in chunks)


_YAML_PIECES = (
    "&a [1, 2]", "*a", "<<: *a", "!!int ''", "!!float ''", "!!bool maybe", "!!timestamp x", "2001-99-99", "!!binary =",
    "!!python/object/apply:os.mkdir [hacked]", "!!python/name:os.system", "!!set {a, b}", "? [1, 2]\n: 3", "~", "=",
    "{", "}", "[", "]", ": ", "- ", "\t", "\0", "\u2028", "'", '"', "|", ">", "%YAML 9.9", "---", "...", "190:20:30",
    "0x", "1e999", "-.inf", ".nan", "1" * 5000, "[" * 3000, "{a: " * 1500, "--help", "-1", "no", "\ud800",
)  # fmt: skip
# Nine times nine times nine ...: a few hundred bytes that are a billion values once they are written out.
_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def damaged_yaml(content: bytes, random: Random) -> bytes:
    """Faults in the bytes, or keys and values that are odd, repeated or in each other's place."""
    if random.random() < 0.2:
        return damaged_bytes(content, random)
    lines = content.decode().splitlines()
    for _ in range(int(random.integers(1, 4))):
        index = int(random.integers(len(lines)))
        key, _, value = lines[index].partition(": ")
        other = pick(random, lines)
        lines[index] = pick(
            random,
            (
                f"{key}: {pick(random, _YAML_PIECES)}",
                f"{key}: [{pick(random, _YAML_PIECES)}, {value}]",
                f"{pick(random, _YAML_PIECES)}: {value}",
                f"{key}: {other.partition(': ')[2]}",
                f"{other.partition(': ')[0]}: {value}",
                pick(random, _YAML_PIECES),
                f"{lines[index]}\n{other}",
                f"{key}:\n  {other}",
            ),
        )
    if random.random() < 0.05:
        lines.append(f"{_LAUGHS}{pick(random, ('epochs', 'size', 'decoder-channels', 'compile'))}: *i")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def damaged_list(content: bytes, random: Random) -> bytes:
    """Lines of a list whose columns are odd, missing or in each other's place."""
    if random.random() < 0.3:
        return damaged_bytes(content, random)
    lines = content.decode().splitlines()
    names = ("", "None", "/", "..", "../../etc/passwd", "\0", "x" * 5000, "#", "\u2028", "é", "a b c d")
    odd = (*names, "nan", "-1", "inf", "1e999")
    for _ in range(int(random.integers(1, 4))):
        index = int(random.integers(len(lines)))
        columns = lines[index].split()
        if columns:
            columns[int(random.integers(len(columns)))] = pick(random, (*odd, *columns))
        lines[index] = " ".join(columns)
    return "\n".join(lines).encode()
