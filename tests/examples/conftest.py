"""The example scripts find their parts beside them, as Python does for a script."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.examples.factory import TINY

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))


@pytest.fixture
def train() -> Iterator[Callable[..., int]]:
    """The script's main with a net and pictures of a few pixels; returns the exit status."""
    from accelerate.state import AcceleratorState

    from training.app import main

    def call(*arguments: object) -> int:
        # accelerate keeps one state per process, and a script is a process of its own.
        AcceleratorState._reset_state(reset_partial_state=True)
        try:
            return main([*TINY, *map(str, arguments)])
        except SystemExit as stop:
            return int(stop.code or 0)

    yield call
    AcceleratorState._reset_state(reset_partial_state=True)
