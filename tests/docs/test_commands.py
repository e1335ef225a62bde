"""The commands on the pages and in the README are taken by the scripts, and no word of them is out of date."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
# Where each script reads its command line.
SETTINGS = {
    "ablation.py": "ablating.settings",
    "depth_distribution.py": "distribution.settings",
    "evaluate_nyu.py": "evaluation.settings",
    "predict.py": "prediction.settings",
    "train_nyu.py": "training.settings",
}


def commands(text: str) -> list[tuple[str, list[str]]]:
    """Scripts and what follows them on each command line; a backslash goes on with the next line."""
    found = []
    for line in re.findall(r"^(?:python|torchrun|accelerate launch) (?:.*\\\n)*.*", text, re.MULTILINE):
        words = shlex.split(line.replace("\\\n", " "), comments=True)
        scripts = [word for word in words if word.startswith("examples/")]
        # Three points stand for options that do not matter there.
        if scripts and words[-1] != "...":
            found.append((Path(scripts[0]).name, words[words.index(scripts[0]) + 1 :]))
    return found


COMMANDS = sorted(
    {
        (page.relative_to(ROOT).as_posix(), script, *arguments)
        for page in PAGES
        if "_build" not in page.parts
        for script, arguments in commands(page.read_text(encoding="utf-8"))
        if script in SETTINGS and "--config" not in arguments
    }
)


def test_commands_are_found() -> None:
    text = (
        "```bash\na=1 # no\npython examples/x.py --y \\\n    'z z'  # why\naccelerate launch examples/x.py ...\n```\n"
    )
    assert commands(text) == [("x.py", ["--y", "z z"])]
    assert {script for _, script, *_ in COMMANDS} == set(SETTINGS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_script_takes_the_command(command: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, script, *arguments = command
    monkeypatch.setattr(sys, "path", [str(ROOT / "examples"), *sys.path])
    monkeypatch.chdir(tmp_path)
    for word in arguments:
        if word.endswith((".jpg", ".png")):
            Path(word).parent.mkdir(parents=True, exist_ok=True)
            Path(word).touch()
    importlib.import_module(SETTINGS[script]).parse(arguments)
