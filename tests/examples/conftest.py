"""The example scripts find their parts beside them, as Python does for a script."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import MagicMock

import pytest
from tests.data.nyu_factory import Frames, write_labeled_mat, write_splits_mat
from tests.examples.evaluating import Evaluate
from tests.examples.factory import TINY, exit_status, tiny_network

EXAMPLES = Path(__file__).parents[2] / "examples"
RECIPES = EXAMPLES / "recipes"
sys.path[:0] = [str(EXAMPLES), str(RECIPES)]


@pytest.fixture(autouse=True)
def _thread_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts set what happens to errors in threads and callbacks; pytest has ways of its own."""
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)


@pytest.fixture(scope="module", autouse=True)
def _narrow_networks() -> Iterator[None]:
    """ResNets of an eighth of the width: the same graph, and checkpoints that take no time to write."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("depthattn.models.resnet._WIDTHS", (8, 16, 32, 64))
        yield


@pytest.fixture
def reports() -> bool:
    """Asks that ``train`` writes the report too, which takes longer than the rest of a tiny run."""
    return True


@pytest.fixture
def train(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., int]]:
    """The script's main with a net and pictures of a few pixels; returns the exit status."""
    from accelerate.state import AcceleratorState

    import reporting
    from training.app import main

    if "reports" not in request.fixturenames:
        monkeypatch.setattr(reporting, "write_report", lambda folder, *_: folder / "report.html")

    def call(*arguments: object) -> int:
        # accelerate keeps one state per process, and a script is a process of its own.
        AcceleratorState._reset_state(reset_partial_state=True)
        try:
            return main([*TINY, *map(str, arguments)])
        except SystemExit as stop:
            return int(stop.code or 0)

    yield call
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture
def error(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """The one line on standard error."""

    def read() -> str:
        text = capsys.readouterr().err
        assert text.count("\n") == 1, text
        return text.rstrip("\n")

    return read


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that takes no time, and no pictures at the end of a run."""
    monkeypatch.setattr("training.app.build_model", tiny_network)
    monkeypatch.setattr("training.run.draw_curves", lambda *_: None)
    monkeypatch.setattr("training.run.draw_contact_sheet", lambda *_: None)


@pytest.fixture
def evaluate_with_pictures() -> Evaluate:
    from evaluation.app import main

    return partial(exit_status, main)


@pytest.fixture
def evaluate(evaluate_with_pictures: Evaluate, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """The script without its pictures, which take most of its time."""
    for draw in ("draw_errors", "plot_depth_bins"):
        monkeypatch.setattr(f"evaluation.app.{draw}", MagicMock())
    return evaluate_with_pictures


@pytest.fixture
def nyu(tmp_path: Path) -> Frames:
    content = write_labeled_mat(tmp_path / "nyu.mat")
    write_splits_mat(tmp_path / "splits.mat", [1, 3, 6], [2, 4, 5])
    return content
