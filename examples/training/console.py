"""What the terminal shows while training: one live bar, a table that grows by a row per epoch.

Where standard output is not a terminal, the bar becomes a plain line every quarter of an epoch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

# Of the time per step, so that the ETA follows the machine's load but does not jump about.
_SMOOTHING = 0.05
_LINES_PER_EPOCH = 4


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
        self._live = enabled and console.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
            disable=not self._live,
        )
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
        parts = "  ".join(f"{name} {value:.3f}" for name, value in losses.items())
        rate = images / max(self._step_seconds, 1e-9)
        times = f"step {_duration(self._step_seconds)}, data {_duration(self._data_seconds)}"
        status = f"{parts}  {rate:.0f} img/s  {times}  ETA {_clock(self._remaining())}"
        done = (self.epoch - 1) * self.steps + self._step
        if self._live:
            self._progress.update(
                self._task, completed=done, description=f"epoch {self.epoch}/{self.epochs}", status=status
            )
        elif self._enabled and self._step % max(self.steps // _LINES_PER_EPOCH, 1) == 0:
            self.line(f"epoch {self.epoch}/{self.epochs}  step {self._step}/{self.steps}  {status}")

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
    """A table whose rows appear one by one; the header comes with the first."""

    def __init__(self, console: Console, columns: Sequence[tuple[str, str, str]]) -> None:
        """``columns``: key of the row, heading, and format of the value."""
        self._console = console
        self._columns = columns
        self._started = False

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
        self._line(text + ("  best" if best else ""), "green" if best else None)

    def _line(self, text: str, style: str | None) -> None:
        self._console.print(text, markup=False, style=style, soft_wrap=True)


def _cell(heading: str, text: str) -> str:
    return text.rjust(max(7, len(heading) + 2))


def result_table(title: str, rows: Sequence[Sequence[str]]) -> Table:
    """The final table: metric, the model's value, the reference's, their ratio, what the reference is."""
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("metric", no_wrap=True)
    for heading in ("model", "reference", "ratio"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("what the reference is")
    for row in rows:
        table.add_row(*row)
    return table


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _duration(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.0f} ms"
