"""The commit that a run was made with, read from a repository that is left as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def test_the_commit_is_named_and_the_repository_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """git would write down that a file with another time is the same, and lock the index for that."""
    from training.provenance import commit

    file = tmp_path / "script.py"
    monkeypatch.setattr("training.provenance.__file__", str(file))
    file.write_text("one")
    assert commit() is None
    git(tmp_path, "init", "-q")
    assert commit() is None
    git(tmp_path, "add", "script.py")
    git(tmp_path, "commit", "-qm", "first")
    index = tmp_path / ".git" / "index"
    os.utime(file, (1, 1))
    before = index.read_bytes()
    assert commit() == git(tmp_path, "rev-parse", "HEAD")
    assert index.read_bytes() == before
    file.write_text("two")
    assert commit() == git(tmp_path, "rev-parse", "HEAD") + "+changes"
    file.write_text("one")
    os.utime(file, (1, 1))
    # By itself, git does.
    git(tmp_path, "status")
    assert index.read_bytes() != before
