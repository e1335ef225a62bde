"""What a run writes down as JSON, checked where it is read again: anybody may have edited it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


class RecordError(ValueError):
    """What a run wrote down is missing, incomplete or damaged."""


def expect(content: Mapping[str, Any], kinds: Mapping[str, type], path: Path) -> None:
    """Every key of ``kinds`` has to be there with a value of its kind; an int will do for a float.

    Raises:
        RecordError: one is not; the message names ``path`` and the key.
    """
    for key, kind in kinds.items():
        if not isinstance(content.get(key), (int, float) if kind is float else kind):
            got = f"{key}: {content[key]!r:.60}" if key in content else ", ".join(content) or "none"
            raise RecordError(f"{path}: expected the key {key!r} as {kind.__name__}, got {got:.200}")


# JSON has no NaN, which stands for a score without ground truth.
def row_to_json(row: Mapping[str, float]) -> dict[str, float | None]:
    return {key: value if value == value else None for key, value in row.items()}


def row_from_json(content: Any, keys: Sequence[str], where: str) -> dict[str, float]:
    """Numbers by name, those of ``keys`` among them.

    Raises:
        RecordError: it is something else; the message begins with ``where``.
    """
    try:
        row = {key: math.nan if value is None else float(value) for key, value in content.items()}
    except (AttributeError, ValueError, TypeError, OverflowError) as error:
        raise RecordError(f"{where}: expected numbers by name, got {content!r:.60}") from error
    missing = [key for key in keys if key not in row]
    if missing:
        raise RecordError(f"{where}: expected {', '.join(missing)}, got {', '.join(row) or 'nothing':.200}")
    return row
