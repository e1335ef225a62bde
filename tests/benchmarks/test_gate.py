from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from benchmarks import cases as table
from benchmarks import formulas
from benchmarks.cases import Case
from benchmarks.execute import Plan, execute
from benchmarks.gate import BOUNDS, check, relative_error
from benchmarks.inputs import Source, Tensors
from benchmarks.measure import Outcome, Run, Schedule, differentiate
from benchmarks.sides import Side, naive, peer
from benchmarks.targets import Target, judge_growth

CPU = torch.device("cpu")
PLAN = Plan(CPU, Schedule(warmup=1, seconds=0, least=2, most=2, input_sets=2), bandwidth=1e9)


def run_case(*sides: Side, targets: tuple[Target, ...] = ()) -> dict[str, dict[str, object]]:
    case = replace(table.depth_aware((1, 6, 8)), sides=sides, targets={"cpu": targets}, bounds_memory=False)
    return execute(case, torch.float32, PLAN, lambda step, done: None)


def right(t: Tensors) -> tuple[Tensor, ...]:
    return table._depth_aware_run(t)


class TestRelativeError:
    def test_is_relative_to_the_largest_entry(self) -> None:
        assert relative_error([torch.tensor([4.0, 1.0])], [torch.tensor([4.0, 2.0])]) == 0.25

    def test_worst_of_several_tensors(self) -> None:
        wanted = [torch.ones(2), torch.full((2,), 10.0)]
        assert relative_error([torch.ones(2), torch.full((2,), 15.0)], wanted) == 0.5

    @pytest.mark.parametrize(
        "actual", [[torch.ones(3)], [], [torch.tensor([1.0, math.nan])], [torch.tensor([1.0, math.inf])]]
    )
    def test_wrong_shape_number_or_nan_is_infinite(self, actual: list[Tensor]) -> None:
        assert relative_error(actual, [torch.ones(2)]) == math.inf

    def test_zeros_have_to_be_zeros(self) -> None:
        zeros = [torch.zeros(2)]
        assert relative_error(zeros, zeros) == 0
        assert relative_error([torch.full((2,), 1e-30)], zeros) == math.inf

    @pytest.mark.parametrize("dtype", BOUNDS)
    def test_bound_of_the_dtype_decides(self, dtype: torch.dtype) -> None:
        wanted = Outcome((torch.ones((), dtype=torch.float64),), (torch.ones(1, dtype=torch.float64),))
        inside = Outcome((wanted.values[0] * (1 + 0.9 * BOUNDS[dtype]),), wanted.gradients)
        outside = Outcome(wanted.values, (wanted.gradients[0] * (1 + 1.1 * BOUNDS[dtype]),))
        assert check(inside, wanted, dtype).passed
        assert not check(outside, wanted, dtype).passed


class TestExecute:
    def test_wrong_gradient_is_red_and_has_no_time(self) -> None:
        def wrong(t: Tensors) -> tuple[Tensor, ...]:
            loss = right(t)[0]
            return (loss + 1e-3 * (t["pred"] - t["pred"].detach()).sum(),)

        record = run_case(peer("right", lambda: right), peer("wrong", lambda: wrong))
        good, bad = record["rows"]
        assert good["status"] == "ok"
        assert good["time_ms"]["both"]["median"] > 0
        assert bad["status"] == "red"
        assert bad["check"]["value_error"] < 1e-6 < bad["check"]["bound"] < bad["check"]["gradient_error"]
        assert not {"time_ms", "peak_bytes", "rounds"} & bad.keys()

    def test_wrong_value_is_red(self) -> None:
        (row,) = run_case(peer("off", lambda: lambda t: (1.001 * right(t)[0],)))["rows"]
        assert row["status"] == "red"

    def test_nan_is_red_and_fits_into_json(self) -> None:
        (row,) = run_case(peer("nan", lambda: lambda t: (right(t)[0] * math.nan,)))["rows"]
        assert row["status"] == "red"
        assert row["check"]["value_error"] is None

    def test_another_definition_is_checked_against_its_own(self) -> None:
        def doubled(t: Tensors) -> tuple[Tensor, ...]:
            return (2 * right(t)[0],)

        def expected(inputs: object) -> Outcome:
            return differentiate(doubled, inputs.double())  # type: ignore[attr-defined]  # Inputs, as Side calls it

        own = peer("double", lambda: doubled, definition="twice the loss", expected=expected)
        (row,) = run_case(own)["rows"]
        assert row["status"] == "ok"
        assert row["definition"] == "twice the loss"

    def test_missing_package_is_absent_with_its_reason(self) -> None:
        def build() -> object:
            raise ImportError('the x side needs x: pip install ".[bench]"')

        (row,) = run_case(peer("x", build))["rows"]
        assert (row["status"], ".[bench]" in row["reason"]) == ("absent", True)

    def test_failing_side_is_an_error_with_its_reason(self) -> None:
        def failing(t: Tensors) -> tuple[Tensor, ...]:
            raise ValueError("f: expected a GPU, got none")

        (row,) = run_case(peer("f", lambda: failing))["rows"]
        assert (row["status"], row["reason"]) == ("error", "ValueError: f: expected a GPU, got none")

    def test_kernels_for_the_other_device_are_absent(self) -> None:
        rows = execute(table.depth_aware((1, 6, 8)), torch.float32, replace(PLAN, compile_only=()), lambda *_: None)[
            "rows"
        ]
        assert {r["side"]: r.get("reason") for r in rows if r["status"] == "absent"} == {
            "triton": "needs cuda tensors",
            "compiled": "left out by --quick",
        }

    def test_targets_compare_medians_of_the_same_run(self) -> None:
        target = Target("naive", "right", 1e9)
        record = run_case(naive(right), peer("right", lambda: right), targets=(target,))
        book, mine = (row["time_ms"]["both"]["median"] for row in record["rows"])
        assert record["targets"] == [
            {
                "quantity": "speed",
                "side": "naive",
                "versus": "right",
                "wanted": 1e9,
                "measured": mine / book,
                "met": False,
            }
        ]

    def test_memory_targets_compare_peaks(self) -> None:
        def lean(t: Tensors) -> tuple[Tensor, ...]:
            return right(t)

        def greedy(t: Tensors) -> tuple[Tensor, ...]:
            return (right(t)[0] + 0 * torch.zeros(2**20).sum(),)

        target = Target("lean", "greedy", 0.5, "memory")
        (judged,) = run_case(peer("lean", lambda: lean), peer("greedy", lambda: greedy), targets=(target,))["targets"]
        assert judged["met"]
        assert 0 < judged["measured"] < 0.1

    def test_times_and_bandwidth_are_targets_too(self) -> None:
        targets = (Target("naive", "right", 1e9, "time"), Target("naive", "copy", 1e-9, "bandwidth"))
        record = run_case(naive(right), peer("right", lambda: right), targets=targets)
        book, mine = (row["time_ms"]["both"]["median"] for row in record["rows"])
        time, bandwidth = record["targets"]
        assert (time["measured"], time["met"]) == (book / mine, True)
        assert bandwidth["measured"] == record["rows"][0]["bandwidth_fraction"]["both"]

    def test_beside_busy_processes_other_targets_hold(self) -> None:
        case = replace(
            table.depth_aware((1, 6, 8)),
            sides=(naive(right), peer("right", lambda: right)),
            targets={"cpu": (), "busy": (Target("naive", "right", 3),)},
        )
        record = execute(case, torch.float32, replace(PLAN, busy=2), lambda *_: None)
        assert [target["wanted"] for target in record["targets"]] == [3]

    def test_target_without_its_side_is_left_open(self) -> None:
        record = run_case(
            naive(right), peer("x", lambda: lambda t: (t["pred"].sum(),)), targets=(Target("naive", "x", 1),)
        )
        assert (record["targets"][0]["measured"], record["targets"][0]["met"]) == (None, None)


def test_growth_compares_the_smallest_image_with_the_one_nearest_to_ten_megapixels() -> None:
    def record(height: int, width: int, milliseconds: float) -> dict[str, object]:
        row = {"side": "cpu", "kind": "ours", "status": "ok", "time_ms": {"both": {"median": milliseconds}}}
        inputs = {"pred": [1, height, width]}
        return {"operation": "depth_aware", "group": "sizes", "inputs": inputs, "rows": [row], "targets": []}

    small, large, huge = record(100, 1000, 0.3), record(2500, 4000, 10.0), record(10000, 5000, 90.0)
    judge_growth([huge, small, large])
    (target,) = small["targets"]
    assert (target["versus"], target["met"]) == ("10.0 megapixels", False)
    assert target["measured"] == pytest.approx(3.0)
    assert large["targets"] == huge["targets"] == []


@pytest.mark.parametrize("case", table.cases(table.OPERATIONS, quick=True), ids=lambda case: case.name)
def test_every_side_that_needs_no_compiler_passes_its_check(case: Case) -> None:
    inputs = case.make(Source(CPU, torch.float32, seed=3))
    expected = case.expected(inputs)
    for side in case.sides:
        if side.compiles or "cpu" not in side.devices or side.name.startswith(("kornia", "MONAI")):
            continue
        wanted = expected if side.expected is None else side.expected(inputs)
        assert check(differentiate(side.build(), inputs), wanted, torch.float32).passed, side.name


@pytest.mark.parametrize(
    ("case", "formula"),
    [
        (table.depth_aware((2, 21, 8)), formulas.depth_aware),
        (table.joint_gradient((2, 21, 8), "labels"), formulas.joint_gradient),
        (table.joint_gradient((2, 21, 8), "semantics"), formulas.joint_gradient),
        (table.attention_depth((2, 21, 8)), formulas.attention_depth),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_bands_give_what_the_whole_image_gives(case: Case, formula: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = case.make(Source(CPU, torch.float32))
    whole = formulas.expected(formula, inputs)
    monkeypatch.setattr(formulas, "BAND_PIXELS", 5 * 2 * 8)
    banded = case.expected(inputs)
    torch.testing.assert_close(banded.values[0], whole.values[0], rtol=1e-12, atol=0)
    torch.testing.assert_close(banded.gradients[0], whole.gradients[0], rtol=1e-12, atol=1e-12)
