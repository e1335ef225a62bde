"""A step split over processes, or into several batches, is the step of one process on all of its frames."""

from __future__ import annotations

import itertools
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tests.examples.factory import tiny_network
from tests.forked import group

import reporting

Train = Callable[..., int]

# Two steps of four frames an epoch, rooms with holes, and three frames to score: an odd number for two processes.
# Batch norms are frozen, as their statistics are those of a batch by design.
OPTIONS = ["--epochs", "2", "--train-frames", "9", "--val-frames", "3", "--batch-norm", "frozen",
           "--loss-weights", "learned"]  # fmt: skip


@pytest.fixture(autouse=True)
def _exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("training.app.build_model", tiny_network)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def test_two_processes_and_two_batches_equal_one_of_both(
    train: Train, reports: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report = reporting.write_report

    def announced(*arguments: Any) -> Any:
        # In a group that is still there, the others would wait for this process.
        print(f"report by process {os.environ['RANK']}, in a group: {torch.distributed.is_initialized()}", flush=True)
        return write_report(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(reporting, "write_report", announced)
        ended = group(
            lambda: train(*OPTIONS, "--batch-size", 2, "--output", tmp_path / "processes"), tmp_path / "written"
        )
    assert [process.status for process in ended] == [0, 0], [process.err for process in ended]
    out = "".join(process.out for process in ended)
    assert "2 epochs of 2 steps, 2 processes, batch 4" in out
    # What comes after the training is done once, by the main process, which no other one waits for.
    assert re.findall("report by process .*", out) == ["report by process 0, in a group: False"]
    assert out.count("Validation, epoch") == 1
    assert {path.name for path in (tmp_path / "processes").iterdir()} == {
        "checkpoints", "config.json", "config.yaml", "metrics.jsonl", "model", "pictures", "report.html",
        "results.json",
    }  # fmt: skip
    assert (tmp_path / "processes" / "report.html").read_text(encoding="utf-8").endswith("</html>\n")
    assert len(list((tmp_path / "processes" / "pictures").iterdir())) == 2
    monkeypatch.setattr(reporting, "write_report", lambda folder, *_: folder / "report.html")
    for name in ("draw_curves", "draw_contact_sheet"):
        monkeypatch.setattr(f"training.run.{name}", lambda *_: None)
    assert train(*OPTIONS, "--batch-size", 4, "--output", tmp_path / "joined") == 0
    assert train(*OPTIONS, "--batch-size", 2, "--accumulate", 2, "--output", tmp_path / "batches") == 0

    joined = _tensors(tmp_path / "joined")
    for name in ("processes", "batches"):
        for key, value in _tensors(tmp_path / name).items():
            torch.testing.assert_close(
                value, joined[key], rtol=1e-7, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}"
            )
        for mine, wanted in zip(_history(tmp_path / name), _history(tmp_path / "joined"), strict=True):
            assert mine == pytest.approx(wanted, rel=1e-7)


def _tensors(run: Path) -> dict[str, torch.Tensor]:
    files = (run / "checkpoints" / "last").glob("*.safetensors")
    return {f"{file.stem}/{name}": value for file in files for name, value in load_file(file).items()}


def _history(run: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def test_a_frame_without_depth_weighs_no_less_for_the_others() -> None:
    """The loss of a batch is the mean of the losses of its images, each by its own pixels."""
    from training.objective import build_loss
    from training.settings import parse

    torch.manual_seed(0)
    output = torch.rand(4, 1, 8, 9) + 1, torch.randn(4, 5, 4, 5)
    depth, labels = torch.rand(4, 1, 8, 9) + 1, torch.randint(5, (4, 8, 9))
    depth[0] = 0
    depth[1, :, :, 2:] = 0
    labels[2] = -100
    loss = build_loss(parse(["--loss-weights", "2", "3", "4"]))

    def of(images: slice) -> list[float]:
        return [float(part.mean()) for part in loss(*(x[images] for x in (*output, depth, labels)))]

    whole = of(slice(4))
    for size in (1, 2):
        shares = [of(slice(start, start + size)) for start in range(0, 4, size)]
        assert whole == pytest.approx([sum(values) / len(values) for values in zip(*shares, strict=True)], rel=1e-12)
    assert whole[0] == pytest.approx(2 * whole[1] + 3 * whole[2] + 4 * whole[3], rel=1e-12)
    assert of(slice(0, 1))[1] == 0


@pytest.mark.parametrize(("batch_size", "accumulate", "processes"), [(4, 1, 1), (1, 4, 1), (1, 2, 2), (2, 1, 2)])
def test_steps_have_the_same_frames_however_they_are_split(batch_size: int, accumulate: int, processes: int) -> None:
    from training.batches import StepBatches

    def steps(batch_size: int, accumulate: int, processes: int, first_step: int = 0) -> list[set[tuple[int, int]]]:
        parts = []
        for index in range(processes):
            batches = StepBatches(
                14, batch_size=batch_size, accumulate=accumulate, process_index=index, num_processes=processes, seed=3
            )
            batches.epoch, batches.first_step = 2, first_step
            assert len(list(batches)) == len(batches)
            parts.append(list(batches))
        together = [itertools.chain(*batches) for batches in zip(*parts, strict=True)]
        return [
            set(itertools.chain(*together[start : start + accumulate])) for start in range(0, len(together), accumulate)
        ]

    mine = steps(batch_size, accumulate, processes)
    assert mine == steps(4, 1, 1)
    assert steps(batch_size, accumulate, processes, first_step=1) == mine[1:]
    frames = set(itertools.chain(*mine))
    assert len(frames) == 12
    assert {epoch for epoch, _ in frames} == {2}


def test_augmentation_depends_on_seed_epoch_and_frame_alone() -> None:
    from training.batches import SeededFrames

    class Dice(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, index: int) -> torch.Tensor:
            return torch.rand(3)

    frames = SeededFrames(Dice(), seed=1)
    before = torch.get_rng_state()
    rolls = {key: frames[key] for key in itertools.product((1, 2), range(4))}
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(7)
    assert all(torch.equal(frames[key], roll) for key, roll in rolls.items())
    assert len({tuple(roll.tolist()) for roll in rolls.values()}) == 8


def test_network_and_loss_are_one_graph() -> None:
    from training.objective import TrainingStep, build_loss
    from training.settings import parse

    torch.manual_seed(0)
    settings = parse(["--loss-weights", "learned"])
    step = TrainingStep(tiny_network(settings, 5), build_loss(settings))
    image, depth, labels = torch.rand(2, 3, 32, 48), torch.rand(2, 1, 32, 48) + 1, torch.randint(5, (2, 32, 48))
    depth[0, :, :9] = 0
    compiled = torch.compile(step._run, backend="eager", fullgraph=True)
    results = []
    for run in (step, compiled):
        step.zero_grad()
        _, losses = run(image, depth, labels)
        losses.total.backward()
        results.append([losses.total.detach(), *(value.grad for value in step.parameters())])
    for mine, wanted in zip(*results, strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-9, atol=1e-12)


def test_too_few_frames_for_a_step(train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("--train-frames", 3, "--val-frames", 1, "--accumulate", 4, "--output", tmp_path / "run") == 2
    assert "expected at least 4 frames for a step (batch size 1 x accumulate 4 x processes 1), got 3" in (
        capsys.readouterr().err
    )
