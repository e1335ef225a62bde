"""The report of a run: what it measures, and the page made of that."""

from reporting.report import write_report

__all__ = ["write_report"]
