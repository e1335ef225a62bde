"""The schedule, the shares of several processes, and what the terminal shows."""

from __future__ import annotations

import io
import itertools
import re
from typing import Any

import pytest
from rich.console import Console


class _Process:
    """A process of several, as accelerate describes it."""

    def __init__(self, index: int, count: int) -> None:
        self.process_index = index
        self.num_processes = count


def test_learning_rate_rises_and_falls() -> None:
    from training.engine import learning_rate

    rates = [learning_rate(step, 100, 2.0) for step in range(100)]
    assert rates[0] == pytest.approx(0.2)
    assert rates[9] == rates[10] == max(rates) == 2.0
    # Half way down the cosine, and at its end a hundredth of the peak.
    assert rates[55] == pytest.approx(2.0 * (0.01 + 0.99 / 2))
    assert rates[99] == pytest.approx(0.02, rel=0.05)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_one_step_has_the_peak_rate() -> None:
    from training.engine import learning_rate

    assert learning_rate(0, 1, 2.0) == 2.0


def test_every_frame_is_scored_by_one_process() -> None:
    from training.batches import own_share

    frames: Any = list(range(7))
    shares = [list(own_share(frames, _Process(index, 3))) for index in range(3)]
    assert sorted(itertools.chain(*shares)) == frames


@pytest.mark.parametrize("count", [1, 4, 9, 100])
def test_evenly_spaced_indices(count: int) -> None:
    from training.sources import evenly

    chosen = list(evenly(count, 4))
    assert len(chosen) == min(count, 4)
    assert chosen[0] == 0
    assert sorted(set(chosen)) == chosen
    assert count - chosen[-1] >= count // 4


def test_plain_lines_where_there_is_no_terminal() -> None:
    from training.console import TrainingDisplay

    output = io.StringIO()
    with TrainingDisplay(Console(file=output, width=60), epochs=2, steps=8) as display:
        display.start_epoch(1)
        for step in range(8):
            display.step({"loss": float(step)}, 16, data_seconds=0.25)
    lines = output.getvalue().splitlines()
    assert [line.split("  ")[:3] for line in lines] == [
        ["epoch 1/2", f"step {step}/8", f"loss {step - 1}.000"] for step in (2, 4, 6, 8)
    ]
    assert all(re.search(r"img/s  step \d+ ms, data 250 ms  ETA 0:\d\d$", line) for line in lines)


def test_only_the_enabled_process_writes() -> None:
    from training.console import TrainingDisplay

    output = io.StringIO()
    with TrainingDisplay(Console(file=output, width=60), epochs=1, steps=1, enabled=False) as display:
        display.start_epoch(1)
        display.step({"loss": 1.0}, 16)
    assert output.getvalue() == ""


def test_table_has_one_header_and_a_dash_where_there_is_no_score() -> None:
    from training.console import EpochTable

    output = io.StringIO()
    table = EpochTable(Console(file=output, width=80), [("epoch", "epoch", ".0f"), ("val/miou", "mIoU", ".1%")])
    table.add({"epoch": 1.0, "val/miou": 0.25}, best=True)
    table.add({"epoch": 2.0, "val/miou": float("nan")}, best=False)
    assert [line.split() for line in output.getvalue().splitlines()] == [
        ["epoch", "mIoU"], ["1", "25.0%", "best"], ["2", "-"],
    ]  # fmt: skip
