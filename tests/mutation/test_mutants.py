"""Every fault still has its place in the code: a change that moves the place has to move the fault along."""

from __future__ import annotations

import pytest
from tests.mutation.__main__ import MUTANTS, ROOT
from tests.mutation.mutant import Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_every_fault_can_be_made(mutant: Mutant) -> None:
    source = (ROOT / mutant.path).read_text()
    assert mutant.broken(source) != source
