"""A few damaged files of each kind; ``make fuzz`` tries thousands."""

from __future__ import annotations

import pytest
from tests.files import bad_kinds
from tests.files.judge import outcomes
from tests.files.kind import Kind
from tests.files.kinds import KINDS


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_a_damaged_file_is_read_or_refused_in_our_own_words(kind: Kind) -> None:
    found = list(outcomes(kind, range(10)))
    assert [outcome.seed for outcome in found] == list(range(10))
    assert [outcome for outcome in found if outcome.verdict == "failed"] == []
    assert any(outcome.verdict == "refused" for outcome in found)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("says so", "expected five letters"),
        ("says so in two lines", "an error of 2 lines"),
        ("raises what Python raised", "ValueError"),
        ("raises what is no error of a value", "KeyError"),
        ("dies", "the interpreter died: SIGABRT"),
        ("hoards", "MB"),
        ("asks for more than there is", "MemoryError"),
        ("leaves a file", "appeared: left"),
        ("runs what it reads", "code in the file ran"),
        ("asks the network", "asked for an address on the network"),
    ],
)
def test_the_judge_notices(name: str, words: str) -> None:
    (kind,) = (kind for kind in bad_kinds.KINDS if kind.name == name)
    found = list(outcomes(kind, range(2), bad_kinds.__name__))
    assert [outcome.verdict for outcome in found] == ["refused" if name == "says so" else "failed"] * 2
    assert all(words in outcome.reason for outcome in found)
