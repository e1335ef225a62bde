from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.inputs import Inputs, Tensors
from benchmarks.measure import (
    Schedule,
    copy_bandwidth,
    interleaved,
    peak_memory,
    percentile,
    rotating,
    summary,
)

CPU = torch.device("cpu")
FLOATS = 2**18
NBYTES = 4 * FLOATS
# Python numbers become tensors of a few bytes.
SCALARS = 100


def double_inputs() -> Inputs:
    return Inputs({"x": torch.ones(FLOATS, requires_grad=True)}, ("x",), (torch.ones(FLOATS),))


class TestStatistics:
    @pytest.mark.parametrize(("percent", "wanted"), [(0, 1.0), (20, 1.8), (50, 3.0), (80, 4.2), (100, 5.0)])
    def test_percentile_interpolates_between_ranks(self, percent: float, wanted: float) -> None:
        assert percentile([5.0, 1.0, 4.0, 2.0, 3.0], percent) == pytest.approx(wanted)

    def test_one_sample_is_every_percentile(self) -> None:
        assert percentile([7.0], 20) == percentile([7.0], 80) == 7.0

    def test_summary_is_in_milliseconds(self) -> None:
        assert summary([0.001, 0.002, 0.003, 0.004, 0.010]) == pytest.approx({"median": 3.0, "p20": 1.8, "p80": 5.2})


class Recorder:
    """A side that writes down its name and the address of its input."""

    def __init__(self, name: str, log: list[tuple[str, int]]) -> None:
        self.name = name
        self.log = log

    def __call__(self, t: Tensors) -> tuple[Tensor, ...]:
        self.log.append((self.name, t["x"].data_ptr()))
        return (2 * t["x"],)


class TestInterleaved:
    def test_sides_take_turns_and_share_no_input_within_a_round(self) -> None:
        log: list[tuple[str, int]] = []
        runs = {name: Recorder(name, log) for name in "abc"}
        schedule = Schedule(warmup=1, seconds=0, least=3, most=3, input_sets=8)
        done: list[float] = []
        samples = interleaved(runs, double_inputs(), CPU, schedule, done.append)
        rounds = [log[i : i + 3] for i in range(0, len(log), 3)]
        assert ["".join(name for name, _ in r) for r in rounds] == ["abc", "abc", "bca", "cab"]
        assert all(len({address for _, address in r}) == 3 for r in rounds)
        assert sum(done) == pytest.approx(1)
        for side in samples.values():
            assert [len(side[p]) for p in ("forward", "backward", "both")] == [3, 3, 3]
            assert side["both"] == [f + b for f, b in zip(side["forward"], side["backward"], strict=True)]

    def test_rounds_follow_the_budget_within_the_limits(self) -> None:
        log: list[tuple[str, int]] = []
        schedule = Schedule(warmup=1, seconds=1e9, least=1, most=4, input_sets=1)
        samples = interleaved({"a": Recorder("a", log)}, double_inputs(), CPU, schedule, lambda done: None)
        assert len(samples["a"]["both"]) == 4

    def test_inputs_rotate_through_twice_the_cache(self, monkeypatch: pytest.MonkeyPatch) -> None:
        inputs = double_inputs()
        monkeypatch.setattr("benchmarks.measure.cache_bytes", lambda device: 3 * inputs.nbytes)
        sets = rotating(inputs, CPU, limit=64)
        assert len(sets) == 7
        assert len({s.tensors["x"].data_ptr() for s in sets}) == 7
        assert all(torch.equal(s.tensors["x"], inputs.tensors["x"]) and s.tensors["x"].requires_grad for s in sets)


class TestPeakMemory:
    def test_forward_counts_what_is_live_at_once(self) -> None:
        def run(t: Tensors) -> tuple[Tensor, ...]:
            with torch.no_grad():
                a = t["x"] + 1
                b = a + 1
                del a
                b = b + 1
                del b
            return (t["x"] * 2,)

        peak = peak_memory(run, double_inputs(), CPU)
        assert 2 * NBYTES <= peak["forward"] < 2 * NBYTES + SCALARS

    def test_backward_adds_to_what_forward_keeps(self) -> None:
        def run(t: Tensors) -> tuple[Tensor, ...]:
            return (t["x"].exp(),)

        # exp keeps its output, which is also what it returns; the gradient is one more.
        peak = peak_memory(run, double_inputs(), CPU)
        assert peak == {"forward": NBYTES, "backward": 2 * NBYTES, "both": 2 * NBYTES}

    def test_a_temporary_of_the_backward_pass_is_seen(self) -> None:
        class Wasteful(torch.autograd.Function):
            @staticmethod
            def forward(ctx: object, x: Tensor) -> Tensor:
                return x.sum()

            @staticmethod
            def backward(ctx: object, grad: Tensor) -> Tensor:
                scratch = torch.zeros(3 * FLOATS)
                return scratch[:FLOATS] + grad

        inputs = Inputs(double_inputs().tensors, ("x",), (torch.ones(()),))
        peak = peak_memory(lambda t: (Wasteful.apply(t["x"]),), inputs, CPU)
        assert peak["forward"] < SCALARS
        assert 4 * NBYTES <= peak["backward"] < 4 * NBYTES + SCALARS

    def test_inputs_do_not_count(self) -> None:
        inputs = double_inputs()
        peak = peak_memory(lambda t: (t["x"].view(-1),), inputs, CPU)
        assert peak["forward"] == 0


def test_copy_bandwidth_counts_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr("benchmarks.measure.time.perf_counter", lambda: float(next(ticks)))
    assert copy_bandwidth(CPU, 4096, repeats=3) == 2 * 4096
