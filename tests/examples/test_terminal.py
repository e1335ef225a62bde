"""What a terminal shows: epoch, bar, loss and ETA first, the rest as there is room, and whole lines elsewhere."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console
from tests.examples.factory import ROOT

LOSSES = {"loss": 1.234, "depth": 0.5, "gradient": 0.7, "focal": 2.3}
COLUMNS = (
    ("epoch", "epoch", ".0f"),
    ("train/total", "loss", ".3f"),
    ("val/rmse", "RMSE m", ".3f"),
    ("val/miou", "mIoU", ".1%"),
    ("seconds", "seconds", ".0f"),
)
ROW = {"epoch": 12.0, "train/total": 1.5, "val/rmse": 0.75, "val/miou": 0.25, "seconds": 90.0}
STYLE = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Console]:
    """A console that takes itself for a terminal of a width, with variables of its own."""

    def make(width: int | None = None, **variables: str) -> Console:
        for name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "TTY_INTERACTIVE"):
            monkeypatch.delenv(name, raising=False)
        settings = {"COLUMNS": str(width), "TERM": "xterm-256color", "TTY_COMPATIBLE": "1", **variables}
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        from scripting.console import new_console

        console = new_console()
        console.file = io.StringIO()
        return console

    return make


def shown(console: Console) -> list[str]:
    assert isinstance(console.file, io.StringIO)
    return [line for line in CONTROL.sub("", console.file.getvalue()).split("\n") if line.strip()]


def bar(console: Console) -> str:
    """The last bar of a run of two steps."""
    from training.console import TrainingDisplay

    with TrainingDisplay(console, 12, 4) as display:
        display.start_epoch(3)
        for _ in range(2):
            display.step(LOSSES, 8, 0.004)
        display._progress.refresh()
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
    return CONTROL.sub("\n", STYLE.sub("", text)).strip().split("\n")[-1]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_bar_has_epoch_loss_and_time_left_at_any_width(width: int, terminal: Callable[..., Console]) -> None:
    line = bar(terminal(width))
    assert len(line) <= width
    assert re.match(r"epoch 3/12 ━\S* *\S*━* loss 1\.234  ETA \d+:\d\d", line)
    assert "…" not in line
    extras = [r"img/s", r"step .*, data", r"depth 0\.500", r"gradient 0\.700", r"focal 2\.300"]
    found = [re.search(extra, line) is not None for extra in extras]
    # More with more room, in this order.
    assert found == sorted(found, reverse=True)
    assert sum(found) == {40: 0, 60: 1, 80: 2, 120: 5}[width]


def test_a_terminal_that_does_not_know_its_width(terminal: Callable[..., Console]) -> None:
    for columns in ("0", "00", ""):
        line = bar(terminal(COLUMNS=columns))
        assert line.startswith("epoch 3/12 ")
        assert "loss 1.234  ETA" in line


def test_no_colour(terminal: Callable[..., Console]) -> None:
    colour = re.compile(r"\x1b\[[0-9;]*(3[0-9]|4[0-9])[0-9;]*m")
    for variables, coloured in (({}, True), ({"NO_COLOR": "1"}, False)):
        console = terminal(80, **variables)
        from training.console import EpochTable

        EpochTable(console, COLUMNS).add(ROW, best=True)
        assert "loss 1.234" in bar(console)
        assert isinstance(console.file, io.StringIO)
        assert bool(colour.search(console.file.getvalue())) == coloured


@pytest.mark.parametrize("width", [40, 80])
def test_a_dumb_terminal_gets_plain_lines(width: int, terminal: Callable[..., Console]) -> None:
    console = terminal(width, TERM="dumb")
    bar(console)
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert "\x1b" not in text
    assert "\r" not in text
    lines = text.splitlines()
    assert [line.partition("  loss")[0] for line in lines] == ["epoch 3/12  step 1/4", "epoch 3/12  step 2/4"]
    assert all("loss 1.234" in line and len(line) <= width for line in lines)


def test_a_terminal_of_ascii_gets_no_escapes(terminal: Callable[..., Console]) -> None:
    from scripting.console import frame_progress, working
    from training.baselines import Baselines
    from training.console import EpochTable, TrainingDisplay
    from training.report import results

    console = terminal(80)
    console.file = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace")
    with working(console, "looking at the data"):
        pass
    with frame_progress(console) as progress:
        progress.update(progress.add_task("scoring", total=2), advance=1)
    with TrainingDisplay(console, 12, 4) as display:
        display.start_epoch(1)
        display.step(LOSSES, 8, 0.004)
    EpochTable(console, COLUMNS).add(ROW, best=True)
    scores = {"rmse": 0.8, "abs_rel": 0.21, "delta1": 0.57, "miou": 0.06, "pixel_accuracy": 0.5}
    console.print(results("Validation", scores, Baselines(2.9, 0.802, 0.039), 80))
    console.file.flush()
    text = console.file.buffer.getvalue().decode("ascii")
    assert "looking at the data" in text
    assert "best constant" in text
    assert "\\" not in text


def test_what_is_no_terminal_gets_everything() -> None:
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    bar(console)
    lines = shown(console)
    assert len(lines) == 2
    assert lines[1].startswith("epoch 3/12  step 2/4  loss 1.234  depth 0.500  gradient 0.700  focal 2.300  ")
    assert re.search(r" img/s  step .*, data .*  ETA \d+:\d\d$", lines[1])


@pytest.mark.parametrize(
    ("width", "headings"),
    [(30, ["epoch", "RMSE m", "mIoU"]), (27, ["epoch", "RMSE m"]), (40, ["epoch", "loss", "RMSE m", "mIoU"]),
     (80, ["epoch", "loss", "RMSE m", "mIoU", "seconds"])],
)  # fmt: skip
def test_a_narrow_table_keeps_the_columns_that_matter(
    width: int, headings: list[str], terminal: Callable[..., Console]
) -> None:
    from training.console import EpochTable

    console = terminal(width)
    EpochTable(console, COLUMNS, ("epoch", "val/rmse", "val/miou")).add(ROW, best=True)
    head, row = shown(console)
    assert re.split(r"  +", head.strip()) == headings
    assert len(row) <= width
    assert row.endswith("best")


def test_the_columns_of_a_run_fit_eighty() -> None:
    from training.console import EpochTable
    from training.run import _COLUMNS, _FIRST_COLUMNS

    assert set(_FIRST_COLUMNS) <= {key for key, _, _ in _COLUMNS}
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    EpochTable(console, _COLUMNS, _FIRST_COLUMNS).add(ROW, best=True)
    assert len(shown(console)[0].split("  ")) > 5
    assert all(len(line) <= 80 for line in shown(console))


@pytest.mark.parametrize("width", [40, 80])
def test_results_are_whole_at_any_width(width: int) -> None:
    from training.baselines import Baselines
    from training.report import results

    scores = {"rmse": 0.8, "abs_rel": 0.21, "delta1": 0.57, "miou": 0.06, "pixel_accuracy": 0.5}
    console = Console(file=io.StringIO(), width=width)
    console.print(results("Validation", scores, Baselines(2.9, 0.802, 0.039), width))
    text = " ".join(" ".join(shown(console)).split())
    assert "…" not in text
    for word in ("0.800 m", "0.802 m", "0.210", "57.0%", "6.0%", "3.9%", "pixel accuracy", "best constant"):
        assert word in text
    assert all(len(line) <= width for line in shown(console))


def test_facts_are_wrapped_between_words_on_a_terminal_alone(terminal: Callable[..., Console]) -> None:
    from scripting.console import print_fact

    path = "/a/folder/whose/name/is/longer/than/the/terminal/is/wide"
    text = f"data        some frames to train on and some others to score, from {path}"
    console = terminal(40)
    print_fact(console, text)
    lines = shown(console)
    assert path in [line.strip() for line in lines]
    assert all(len(line) <= 40 or path in line for line in lines)
    assert all(line.startswith(" " * 10) for line in lines[1:])
    plain = Console(file=io.StringIO(), width=40, force_terminal=False)
    print_fact(plain, text)
    assert shown(plain) == [text]


@pytest.mark.parametrize("columns", ["0", "20", "40", "80", "200"])
def test_help_fits_the_terminal(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from prediction.settings import parse

    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        parse(["--help"])
    text = capsys.readouterr().out
    words = text.split()
    assert all(option in words for option in ("--checkpoint", "--output", "--size", "--max-depth"))
    width = {"0": 80, "20": 40}.get(columns, int(columns))
    assert max(map(len, text.splitlines())) <= width
    if columns in ("80", "200"):
        assert "  PHOTO_depth.png          depth in millimetres, 16 bit" in text.splitlines()


def test_frame_bars_are_for_terminals_that_can_redraw(terminal: Callable[..., Console], tmp_path: Path) -> None:
    from scripting.console import frame_progress

    texts = []
    for console in (terminal(80), terminal(80, TERM="dumb"), Console(file=io.StringIO(), force_terminal=False)):
        with frame_progress(console) as progress:
            progress.update(progress.add_task("a.png", total=2), advance=1)
        texts.append("".join(shown(console)))
    assert "a.png" in texts[0]
    assert texts[1:] == ["", ""]
    assert all(first >= second for first, second in pairwise(map(len, texts)))


def test_every_console_knows_what_is_said_of_its_terminal() -> None:
    """One that a script made by itself would take COLUMNS=0 for a width."""
    programs = (ROOT / "examples").rglob("*.py")
    assert [path.name for path in programs if re.search(r"\bConsole\(", path.read_text())] == ["console.py"]
