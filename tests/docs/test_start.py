"""The start pages keep their promise: from nothing to a picture in under twenty lines of code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

START = Path(__file__).parents[2] / "docs" / "start"


@pytest.mark.parametrize("page", ["loss", "sharing_unit", "training_script"])
def test_a_picture_in_under_twenty_lines(page: str) -> None:
    before, drawn, _ = (START / f"{page}.md").read_text(encoding="utf-8").partition("```{drawn}")
    code = "".join(re.findall(r"^```python\n(.*?)^```", before, re.DOTALL | re.MULTILINE))
    assert drawn
    assert 0 < len([line for line in code.splitlines() if line.strip()]) < 20
