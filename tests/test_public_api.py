"""A public name or a signature changes on purpose or not at all."""

from __future__ import annotations

import difflib
from pathlib import Path

from tests import public_api


def test_the_public_names_and_signatures_are_the_recorded_ones() -> None:
    recorded = Path(public_api.__file__).with_suffix(".txt").read_text().splitlines()
    changes = list(difflib.unified_diff(recorded, list(public_api.lines()), "recorded", "now", lineterm="", n=0))
    assert not changes, "\n".join(["python -m tests.public_api > tests/public_api.txt accepts this:", *changes])
