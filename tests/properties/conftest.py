"""Says how many examples hypothesis tried, where it searched for long."""

from __future__ import annotations

import pytest
from hypothesis import settings
from tests.properties.search import EXAMPLES


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if settings.get_current_profile_name() != "fuzz":
        return
    terminalreporter.section("examples tried")
    for operation, count in sorted(EXAMPLES.items()):
        terminalreporter.write_line(f"{count:>9}  {operation}")
