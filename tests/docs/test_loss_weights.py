"""Wherever the three losses are added, they have the weights that train_nyu.py has by default."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

import pytest

from depthattn import AttentionDrivenLoss, JointGradientLoss

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "docs/index.md", "docs/start/loss.md")


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> tuple[float, float, float]:
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), str(ROOT / "examples" / "recipes"), *sys.path])
    chosen: tuple[float, float, float] = importlib.import_module("training.settings").LOSS_WEIGHTS
    return chosen


@pytest.mark.parametrize("page", PAGES)
def test_pages(page: str, weights: tuple[float, float, float]) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = re.findall(r"\+ ([0-9.]+) \* (?:JointGradientLoss|joint_gradient|edges)", text)
    assert set(map(float, found)) == {weights[1] / weights[0]}


def test_docstrings_and_recipes(weights: tuple[float, float, float]) -> None:
    told = re.search(
        r"start with ([\d.]+), ([\d.]+), ([\d.]+)\.", " ".join((AttentionDrivenLoss.__doc__ or "").split())
    )
    assert told is not None
    assert tuple(map(float, told.groups())) == weights
    alone = re.search(r"start with a weight of ([\d.]+)\.", " ".join((JointGradientLoss.__doc__ or "").split()))
    assert alone is not None
    assert float(alone[1]) == weights[1] / weights[0]
    assert importlib.import_module("ingredients").attention_loss().weights == weights


def test_help_of_the_script(weights: tuple[float, float, float]) -> None:
    told = importlib.import_module("training.arguments").build_parser(str).format_help()
    assert f"or 'learned' ({' '.join(f'{weight:g}' for weight in weights)})" in " ".join(told.split())
