"""Every public name has its place in the reference of the site."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def listed_names() -> set[str]:
    """The entries of the autosummary lists, and the constants."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    return set(re.findall(r"^ {3}(\w+)$", text, re.MULTILINE)) | set(
        re.findall(r"^\.\. py:data:: (\w+)$", text, re.MULTILINE)
    )


@pytest.mark.parametrize("module", ["", ".functional", ".models", ".data", ".metrics", ".viz"])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    package = importlib.import_module(f"depthattn{module}")
    pages = {"__version__", "data", "functional", "metrics", "models", "transforms", "viz"}
    assert set(package.__all__) - pages - listed_names() == set()
