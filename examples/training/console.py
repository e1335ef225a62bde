"""What the terminal shows while training: one live bar, a table that grows by a row per epoch.

Both show what matters first, and more as there is room. Where standard output is no terminal, or one that cannot move
its cursor, the bar becomes a plain line every quarter of an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.box import HEAVY_HEAD
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, TextColumn
from rich.table import Table
from rich.text import Text

from scripting.console import live_progress

# Of the time per step, so that the ETA follows the machine's load but does not jump about.
_SMOOTHING = 0.05
_LINES_PER_EPOCH = 4
_SHORTEST_BAR = 6
_BEST = "  best"


class TrainingDisplay:
    """Follows a run of ``epochs`` times ``steps`` optimiser steps.

    Args:
        console: where to write.
        epochs: number of epochs.
        steps: optimiser steps of one epoch.
        enabled: whether this process writes at all.
    """

    def __init__(self, console: Console, epochs: int, steps: int, *, enabled: bool = True) -> None:
        self.console = console
        self.epochs = epochs
        self.steps = steps
        self.epoch = 1
        self._enabled = enabled
        self._step = 0
        self._seen = 0
        self._step_seconds = 0.0
        self._data_seconds = 0.0
        self._between_epochs = 0.0
        self._mark = time.monotonic()
        self._live = enabled and console.is_interactive
        self._progress = live_progress(
            console, TextColumn("{task.description}"), BarColumn(bar_width=None), TextColumn("{task.fields[status]}")
        )
        self._progress.disable = not self._live
        self._task = self._progress.add_task("", total=epochs * steps, status="")

    def __enter__(self) -> TrainingDisplay:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start_epoch(self, epoch: int, done: int = 0) -> None:
        """Begin an epoch of which ``done`` steps are behind."""
        now = time.monotonic()
        if self._seen:
            self._between_epochs = now - self._mark
        self.epoch, self._step, self._mark = epoch, done, now

    def step(self, losses: Mapping[str, float], images: int, data_seconds: float = 0.0) -> None:
        """Count one optimiser step over ``images`` images with these losses, that waited for its data so long."""
        now = time.monotonic()
        seconds, self._mark = now - self._mark, now
        # The first step of a process pays for start-up, so it seeds the mean only until the second one.
        share = 1.0 if self._seen < 2 else _SMOOTHING
        self._step_seconds += share * (seconds - self._step_seconds)
        self._data_seconds += share * (data_seconds - self._data_seconds)
        self._seen += 1
        self._step += 1
        title, place = f"epoch {self.epoch}/{self.epochs}", f"step {self._step}/{self.steps}"
        first, *others = (f"{name} {value:.3f}" for name, value in losses.items())
        rate = f"{images / max(self._step_seconds, 1e-9):.3g} img/s"
        times = f"step {_duration(self._step_seconds)}, data {_duration(self._data_seconds)}"
        left = f"ETA {_clock(self._remaining())}"
        by_weight = [first, left, rate, times, *others]
        if self._live:
            room = self.console.width - len(title) - _SHORTEST_BAR - 2
            done = (self.epoch - 1) * self.steps + self._step
            self._progress.update(self._task, completed=done, description=title, status=_joined(by_weight, room))
        elif self._enabled and self._step % max(self.steps // _LINES_PER_EPOCH, 1) == 0:
            if self.console.is_terminal:
                self.line(_joined([f"{title}  {place}", *by_weight], self.console.width))
            else:
                self.line("  ".join([title, place, first, *others, rate, times, left]))

    def phase(self, text: str) -> None:
        """Say what runs between two epochs."""
        if self._live:
            self._progress.update(self._task, status=text)

    def line(self, text: str) -> None:
        if self._enabled:
            self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _remaining(self) -> float:
        epochs_left = self.epochs - self.epoch
        steps_left = epochs_left * self.steps + self.steps - self._step
        return steps_left * self._step_seconds + (epochs_left + 1) * self._between_epochs


class EpochTable:
    """A table whose rows appear one by one; the header comes with the first.

    Args:
        console: where to write.
        columns: key of the row, heading and format of the value, in the order on the page.
        first: keys of the columns that a narrow terminal keeps, the most important one first; the others follow.
    """

    def __init__(self, console: Console, columns: Sequence[tuple[str, str, str]], first: Sequence[str] = ()) -> None:
        self._console = console
        self._columns = columns
        self._started = False
        if console.is_terminal:
            self._columns = _that_fit(columns, first, console.width - len(_BEST))

    def add(self, row: Mapping[str, float], *, best: bool) -> None:
        """Print one epoch; ``best`` marks it as the best so far."""
        cells = []
        for key, heading, spec in self._columns:
            value = row.get(key, math.nan)
            cells.append((heading, format(value, spec) if math.isfinite(value) else "-"))
        if not self._started:
            self._line("".join(_cell(heading, heading) for heading, _ in cells), "bold")
            self._started = True
        text = "".join(_cell(heading, value) for heading, value in cells)
        self._line(text + (_BEST if best else ""), "green" if best else None)

    def _line(self, text: str, style: str | None) -> None:
        self._console.print(text, markup=False, style=style, soft_wrap=True)


def _that_fit(
    columns: Sequence[tuple[str, str, str]], first: Sequence[str], width: int
) -> Sequence[tuple[str, str, str]]:
    by_key = {column[0]: column for column in columns}
    kept = set()
    for key in dict.fromkeys((*first, *by_key)):
        width -= len(_cell(by_key[key][1], ""))
        if width < 0:
            break
        kept.add(key)
    return [column for column in columns if column[0] in kept]


def _cell(heading: str, text: str) -> str:
    return text.rjust(max(7, len(heading) + 2))


def _joined(parts: Sequence[str], width: int) -> str:
    """The first part and as many of the others as fit."""
    text = parts[0]
    for part in parts[1:]:
        if len(text) + len(part) + 2 > width:
            break
        text += f"  {part}"
    return text


def result_table(title: str, rows: Sequence[Sequence[str]], *, narrow: bool = False) -> RenderableType:
    """The final table: metric, value of the model, of the baseline, their ratio, and what the baseline is.

    A ``narrow`` one has no lines and no ratios, and says below it what the baselines are.
    """
    # A title of rich's own is broken at the width of the table.
    table = Table(box=None if narrow else HEAVY_HEAD, padding=(0, 2, 0, 0) if narrow else (0, 1))
    table.add_column("metric", no_wrap=True)
    for heading in ("model", "baseline", "ratio")[: 2 if narrow else 3]:
        table.add_column(heading, justify="right", no_wrap=True)
    if not narrow:
        table.add_column("what the baseline is")
    for row in rows:
        table.add_row(*(row[:3] if narrow else row))
    baselines = [Text(f"{row[0]}: {row[-1]}") for row in rows if row[-1]] if narrow else []
    return Group(Text(title, style="bold"), table, *baselines)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
