"""The two short examples run, and show what they say."""

from __future__ import annotations

import pytest

import custom_multitask_decoder
import drop_in_losses


def test_the_losses_train_a_foreign_model() -> None:
    losses = drop_in_losses.main(steps=12)
    assert sum(losses[-3:]) < 0.9 * sum(losses[:3])


def test_a_sharing_unit_goes_in_without_a_change(capsys: pytest.CaptureFixture[str]) -> None:
    slopes = custom_multitask_decoder.main()
    printed = capsys.readouterr().out
    assert printed.count("changed: False") == 3
    assert len(slopes) == 18
    assert all(slope != 0 for slope in slopes.values())
