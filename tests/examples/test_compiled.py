"""``--compile``: one graph for training, made once, with the results of the run without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

Train = Callable[..., int]


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_training_is_one_graph_and_scores_are_the_same(
    train: Train, tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    # Inductor would take a minute to say the same of the graph: its number and its gradient.
    monkeypatch.setattr("training.app.check_compiler", lambda device: None)
    counter = CompileCounterWithBackend("aot_eager")
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counter))
    # Batches to score of two frames and of one.
    options = ("--epochs", 2, "--train-frames", 4, "--val-frames", 3, "--loss-weights", "learned")
    histories = []
    for name, more in (("plain", ()), ("compiled", ("--compile",))):
        torch._dynamo.reset()
        assert train(*options, *more, "--output", tmp_path / name) == 0
        lines = (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        histories.append([{**json.loads(line), "seconds": 0.0} for line in lines])
    assert counter.frame_count == 1
    for mine, wanted in zip(*histories, strict=True):
        assert mine == pytest.approx(wanted, rel=1e-7)
