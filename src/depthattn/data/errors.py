"""The error every data source raises for bad files."""

from __future__ import annotations


class DataError(ValueError):
    """Data on disk are not as expected: one line with the file, what was expected and what was got."""
