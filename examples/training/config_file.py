"""Options in a YAML file: the flags' names without their leading dashes, and the same values.

Relative paths start from the folder of the file::

    folder: rooms
    num-classes: 14
    decoder-channels: [256, 128, 64]
    no-up-skip: true
"""

from __future__ import annotations

import argparse
import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from depthattn._messages import reason_of
from scripting.command_line import PathOr
from scripting.outputs import write_whole

# Not options of a run, so they cannot be in the file of one.
_ELSEWHERE = frozenset({"config", "help"})


def read_options(path: Path, parser: argparse.ArgumentParser) -> list[str]:
    """The file as words of a command line, for ``parser`` to check.

    Raises:
        ValueError: the file is not there or no YAML mapping, or a key is no option; the message names the nearest.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"--config {path}: expected a file, got {error.strerror}") from error
    except Exception as error:
        # Any kind: PyYAML trusts the text behind a tag, as in "!!int x", and stumbles over it in any way there is.
        reason = reason_of(error)
        raise ValueError(f"--config {path}: expected YAML, got {reason}") from error
    if not isinstance(content, dict):
        raise ValueError(f"--config {path}: expected 'option: value' lines, got {type(content).__name__}")
    options = _options(parser)
    words: list[str] = []
    for key, value in content.items():
        name = str(key).replace("_", "-")
        if name not in options:
            nearest = difflib.get_close_matches(name, options, n=1, cutoff=0.0)[0]
            raise ValueError(f"--config {path}: expected names of options, got {key!r}; the nearest is {nearest!r}")
        words += _words(path, name, value, options[name])
    return words


def write_options(path: Path, values: Mapping[str, Any], parser: argparse.ArgumentParser, title: str) -> None:
    """Write ``values``, by destination in the parser, such that :func:`read_options` gives them back."""
    lines: dict[str, Any] = {}
    for name, action in _options(parser).items():
        value = values.get(action.dest)
        if action.nargs == 0:
            if value == action.const:
                lines[name] = True
        elif value is not None:
            lines[name] = _plain(value)
    text = yaml.safe_dump(lines, sort_keys=False, default_flow_style=None, allow_unicode=True)
    content = f"# {title}\n{text}".encode()
    write_whole(path, lambda file: file.write(content))


def _options(parser: argparse.ArgumentParser) -> dict[str, argparse.Action]:
    named = {action.option_strings[-1].removeprefix("--"): action for action in parser._actions}
    return {name: action for name, action in named.items() if name not in _ELSEWHERE}


def _words(path: Path, name: str, value: Any, action: argparse.Action) -> list[str]:
    if value is None:
        return []
    if action.nargs == 0:
        if not isinstance(value, bool):
            raise ValueError(f"--config {path}: {name}: expected true or false, got {value!r}")
        return [f"--{name}"] * value
    values = value if isinstance(value, list) else [value]
    for item in values:
        if isinstance(item, (dict, list, set)):
            # By its type: written out, a few hundred bytes of anchors can be a billion values.
            raise ValueError(
                f"--config {path}: {name}: expected a value or a list of values, got {type(item).__name__}"
            )
    words = [_word(item) for item in values]
    if action.type is Path or isinstance(action.type, PathOr):
        kept = getattr(action.type, "words", ())
        words = [word if word in kept else os.path.join(path.parent, os.path.expanduser(word)) for word in words]
    # One word, so that a value that begins with a dash is not taken for an option.
    if len(words) == 1:
        return [f"--{name}={words[0]}"]
    for word in words:
        if word.startswith("-") and not _is_number(word):
            raise ValueError(f"--config {path}: {name}: expected values, got {word!r}")
    return [f"--{name}", *words]


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _word(value: Any) -> str:
    # YAML reads a bare no, as in "precision: no", as false.
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.resolve())
    return [_plain(item) for item in value] if isinstance(value, tuple) else value
