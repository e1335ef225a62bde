"""The start pages are quick: from nothing to a figure in under thirty lines of code, which is the same each time."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

START = Path(__file__).parents[2] / "docs" / "start"


@pytest.mark.parametrize("page", ["loss", "sharing_unit", "training_script"])
def test_a_seeded_figure_in_under_thirty_lines(page: str) -> None:
    before, drawn, _ = (START / f"{page}.md").read_text(encoding="utf-8").partition("```{drawn}")
    code = "".join(re.findall(r"^```python\n(.*?)^```", before, re.DOTALL | re.MULTILINE))
    assert drawn
    assert 0 < len([line for line in code.splitlines() if line.strip()]) < 30
    assert ("import torch" in code) == ("torch.manual_seed(" in code)
