"""The error every data source raises for bad files."""

from __future__ import annotations


class DataError(ValueError):
    """Data on disk is not what was asked for: one line naming the file, what was expected and what was found."""
