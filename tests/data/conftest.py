"""The leg on real frames: collected only when DEPTHATTN_NYU names a labeled file."""

from __future__ import annotations

import os

import pytest

REAL_FILE = os.environ.get("DEPTHATTN_NYU")

# A test without parameters would show as skipped, so the module is left out instead.
collect_ignore = [] if REAL_FILE else ["test_real_frames.py"]


@pytest.fixture
def real_file() -> str:
    assert REAL_FILE is not None
    return REAL_FILE
