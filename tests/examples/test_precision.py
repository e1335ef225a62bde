"""Mixed precision: what is in half precision and what is not, and the scale that fp16 needs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from tests.examples.factory import TINY, tiny_network

if TYPE_CHECKING:
    from training.engine import Engine

# Three steps of two batches an epoch.
OPTIONS = ["--train-frames", "6", "--val-frames", "1", "--epochs", "2", "--batch-size", "1", "--accumulate", "2"]


class HalfOnCpu(Accelerator):
    """fp16 with its scale, which accelerate has on GPUs only."""

    def __init__(self, scale: float) -> None:
        super().__init__(mixed_precision="fp16", cpu=True)
        self.native_amp = True
        self.scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=2)


@pytest.fixture
def start() -> Iterator[Callable[[str], Engine]]:
    """Makes an engine of a tiny network; those of one test have the same weights and frames."""
    from training.batches import training_loader
    from training.engine import Engine
    from training.settings import parse
    from training.sources import open_source

    settings = parse([*TINY, *OPTIONS])
    source = open_source(settings)

    def make(precision: str, scale: float = 2.0**10) -> Engine:
        AcceleratorState._reset_state(reset_partial_state=True)
        accelerator = HalfOnCpu(scale) if precision == "fp16" else Accelerator(mixed_precision=precision, cpu=True)
        torch.manual_seed(0)
        network = tiny_network(settings, len(source.class_names))
        loader = training_loader(source.train, settings, accelerator)
        return Engine(settings, accelerator, network, loader, len(source.class_names))

    yield make
    AcceleratorState._reset_state(reset_partial_state=True)


def nothing(*_: object) -> None:
    pass


def weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in engine.net.named_parameters()}


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("fp16", torch.float16)])
def test_convolutions_are_in_half_and_weights_and_scores_are_not(
    precision: str, dtype: torch.dtype, start: Callable[[str], Engine]
) -> None:
    wanted = start("no")
    losses = wanted.train_epoch(1, nothing)
    engine = start(precision)
    seen = set()
    engine.net.neck[0].register_forward_hook(lambda module, given, output: seen.add(output.dtype))
    mine = engine.train_epoch(1, nothing)
    scores = engine.validate(list(engine.loader)[:1])

    assert seen == {dtype}
    for name, value in engine.tensors()["model"].items():
        assert value.dtype in (torch.float32, torch.int64), name
    # Eight bits of mantissa in bf16 and eleven in fp16, against the 24 of float32.
    assert mine == pytest.approx(losses, rel=0.02)
    assert mine != losses
    assert scores is not None
    assert all(math.isfinite(scores[name]) for name in ("rmse", "miou", "total"))


def test_a_step_that_overflows_is_left_out_and_the_scale_halved(start: Callable[..., Engine]) -> None:
    engine = start("fp16", scale=2.0**60)
    before = weights(engine)
    scales: list[float] = []
    engine.train_epoch(1, lambda report: scales.append(engine.accelerator.scaler.get_scale()))
    assert scales == [2.0**59, 2.0**58, 2.0**57]
    assert all(torch.equal(value, before[name]) for name, value in weights(engine).items())


def test_a_gradient_that_no_scale_helps_stops_the_run(start: Callable[..., Engine]) -> None:
    from training.engine import TrainingStopped

    engine = start("fp16", scale=2.0**-12)
    engine.net.neck[0].weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(TrainingStopped, match="the gradient is not finite at step 3"):
        engine.train_epoch(1, nothing)


def test_resume_goes_on_with_the_scale(start: Callable[[str], Engine], tmp_path: Path) -> None:
    from training import checkpoint

    def state(engine: Engine) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        return weights(engine), engine.accelerator.scaler.state_dict()

    whole = start("fp16")
    for epoch in (1, 2):
        whole.train_epoch(epoch, nothing)
    wanted, scaler = state(whole)
    # Six steps, of which each second one doubled the scale.
    assert scaler["scale"] == 2.0**13

    first = start("fp16")
    first.train_epoch(1, nothing)
    # One step into the next doubling, which has to be known too.
    assert first.accelerator.scaler.state_dict()["_growth_tracker"] == 1
    checkpoint.save(tmp_path / "last", first.tensors(), {"progress": first.progress()})
    second = start("fp16")
    second.restore(checkpoint.load(tmp_path / "last"))
    second.train_epoch(2, nothing)
    mine, again = state(second)
    assert again == scaler
    assert all(torch.equal(value, mine[name]) for name, value in wanted.items())
