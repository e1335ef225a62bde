"""Command lines whose errors are one line each."""

from __future__ import annotations

import argparse
import shutil
import textwrap
from pathlib import Path
from typing import NoReturn

from scripting.failures import BAD_INPUT
from scripting.messages import say

# Characters that the lines of descriptions and examples take at most.
_LAID_OUT = 78


class Parser(argparse.ArgumentParser):
    """An ``ArgumentParser`` that keeps the layout of its texts and says in one line what is wrong.

    Args:
        program: name of the script.
        description: what it does, laid out in lines of at most 80 characters.
        epilog: examples, laid out in the same way.
        usage: in place of argparse's list of all options.
        argument_default: of options that have none of their own; ``argparse.SUPPRESS`` leaves out what is not given.

    Attributes:
        origin: where the words come from, to begin an error with; empty for the command line.
    """

    def __init__(
        self,
        program: str,
        description: str,
        epilog: str | None = None,
        usage: str | None = None,
        argument_default: str | None = None,
    ) -> None:
        super().__init__(
            prog=program,
            description=description,
            epilog=epilog,
            usage=usage,
            argument_default=argument_default,
            formatter_class=_HelpFormatter,
            allow_abbrev=False,
            add_help=False,
        )
        self.origin = ""
        self.add_argument("-h", "--help", action="help", help="show this text and exit; defaults are in brackets")

    def error(self, message: str) -> NoReturn:
        # argparse would print the whole usage first. A word of a file of options may hold line breaks.
        say(f"{self.prog}: error: {self.origin}{' '.join(message.split())} (see --help)")
        self.exit(BAD_INPUT)


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        width = max(min(shutil.get_terminal_size().columns, 110) - 2, 20)
        super().__init__(prog, max_help_position=min(30, width // 3), width=width)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        # Laid out by hand in at most 80 characters; a narrower terminal would break it in the middle of words.
        if width >= _LAID_OUT:
            return super()._fill_text(text, width, indent)
        blocks = (self._fill_block(block, width) for block in text.strip("\n").split("\n\n"))
        return "\n\n".join(blocks) + "\n"

    def _fill_block(self, block: str, width: int) -> str:
        lines = block.split("\n")
        if not any(line.startswith("  ") for line in lines):
            return textwrap.fill(block, width)
        return "\n".join(textwrap.fill(line, width, subsequent_indent="    ", break_on_hyphens=False) for line in lines)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        # "-o, --output DIR" in place of "-o DIR, --output DIR"
        if not action.option_strings or action.nargs == 0:
            return super()._format_action_invocation(action)
        values = self._format_args(action, self._get_default_metavar_for_optional(action))
        return f"{', '.join(action.option_strings)} {values}"


class PathOr:
    """A type of argparse: a path, or one of some words that stand for themselves."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, word: str) -> Path | str:
        return word if word in self.words else Path(word)


def positive(word: str) -> int:
    number = int(word)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 1, got {word}")
    return number


def natural(word: str) -> int:
    number = int(word)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected a whole number >= 0, got {word}")
    return number


def above_zero(word: str) -> float:
    number = float(word)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number > 0, got {word}")
    return number


def yes_or_no(word: str) -> bool:
    if word not in ("yes", "no"):
        raise argparse.ArgumentTypeError(f"expected yes or no, got {word}")
    return word == "yes"


# argparse names the type in its own message for a word that is no number.
positive.__name__ = natural.__name__ = "whole number"
above_zero.__name__ = "number"
