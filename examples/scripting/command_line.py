"""Command lines whose errors are one line each."""

from __future__ import annotations

import argparse
import shutil
from typing import NoReturn


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that keeps the layout of its texts and says in one line what is wrong."""

    def __init__(self, program: str, description: str, epilog: str | None = None, usage: str | None = None) -> None:
        super().__init__(
            prog=program, description=description, epilog=epilog, usage=usage, formatter_class=_HelpFormatter
        )

    def error(self, message: str) -> NoReturn:
        # argparse would print the whole usage first.
        self.exit(2, f"{self.prog}: error: {message} (see --help)\n")


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, 110) - 2
        super().__init__(prog, max_help_position=30, width=width)


def positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"wanted a whole number >= 1, got {word}")
    return number


def natural(word: str) -> int:
    number = int(word)
    if number < 0:
        raise argparse.ArgumentTypeError(f"wanted a whole number >= 0, got {word}")
    return number


def above_zero(word: str) -> float:
    number = float(word)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"wanted a number > 0, got {word}")
    return number


# argparse names the type in its own message for a word that is no number.
positive.__name__ = natural.__name__ = "whole number"
above_zero.__name__ = "number"
