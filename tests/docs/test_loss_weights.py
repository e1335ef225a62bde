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


def test_programs(weights: tuple[float, float, float]) -> None:
    """Each by itself or together; other weights are those of losses in another space than metres."""
    for path in sorted((ROOT / "examples").glob("**/*.py")):
        text = path.read_text(encoding="utf-8")
        if path.parent.name == "ablating" or path.name == "relative_depth.py":
            continue
        alone = re.findall(r"\+ ([0-9.]+) \* (?:edges|joint_gradient\()", text)
        assert {float(weight) for weight in alone} <= {weights[1] / weights[0]}, path
        together = re.findall(r"weights=\(([0-9., ]+)\)", text)
        assert {tuple(map(float, numbers.split(","))) for numbers in together} <= {weights}, path
        # Its term on labels made edges worse.
        assert "JointGradientLoss()" not in text or "labels=" not in text.partition("JointGradientLoss()")[2], path


def test_docstrings_and_recipes(weights: tuple[float, float, float]) -> None:
    told = re.search(
        r"start with ([\d.]+), ([\d.]+), ([\d.]+)\.", " ".join((AttentionDrivenLoss.__doc__ or "").split())
    )
    assert told is not None
    assert tuple(map(float, told.groups())) == weights
    alone = re.search(r"start with a weight of ([\d.]+)\.", " ".join((JointGradientLoss.__doc__ or "").split()))
    assert alone is not None
    assert float(alone[1]) == weights[1] / weights[0]
    recipe = importlib.import_module("ingredients").attention_loss()
    assert recipe.weights == weights
    assert recipe.joint_gradient.semantic_weight == importlib.import_module("training.settings").SEMANTIC_WEIGHT


def test_help_of_the_script(weights: tuple[float, float, float]) -> None:
    told = importlib.import_module("training.arguments").build_parser(str).format_help()
    assert f"or 'learned' ({' '.join(f'{weight:g}' for weight in weights)})" in " ".join(told.split())
