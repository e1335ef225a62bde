"""What other packages' errors say, as a part of our own."""

from __future__ import annotations


def reason_of(error: Exception) -> str:
    """The message of an error without its line breaks; the name of its class where it has none."""
    return " ".join(str(error).split()) or type(error).__name__
