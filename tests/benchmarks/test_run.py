from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import run
from benchmarks.cases import cases as all_cases


def measured(folder: Path) -> dict[str, object]:
    (path,) = folder.rglob("*.json")
    assert path.name.endswith("-quick.json")
    return json.loads(path.read_text())


def test_quick_run_of_one_operation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "QUICK_COMPILES", ())
    arguments = ["--quick", "--op", "semi_dense_up_skip", "--backend", "cpu", "--output", str(tmp_path)]
    assert run.main(arguments) == 0
    result = measured(tmp_path)
    assert result["command"] == "python benchmarks/run.py --device cpu --op semi_dense_up_skip --backend cpu --quick"
    assert str(tmp_path) not in json.dumps(result)
    (case,) = result["cases"]
    by_side = {row["side"]: row for row in case["rows"]}
    assert {side: row["status"] for side, row in by_side.items()} == {
        "cpu": "ok",
        "triton": "absent",
        "reference": "absent",
        "naive": "ok",
        "compiled": "absent",
    }
    assert by_side["reference"]["reason"] == "left out by --backend"
    assert by_side["compiled"]["reason"] == "left out by --quick"
    for side in ("cpu", "naive"):
        # 1x4 maps of 8x10, 15x20 and 30x40: the output and three gradients are there at the end.
        assert by_side[side]["peak_bytes"]["both"] >= case["returned_bytes"] == 4 * 4 * (1200 + 80 + 300 + 1200)
    assert case["targets"] == []


def test_wrong_side_fails_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(operations: object, *, quick: bool) -> list[object]:
        (case,) = (c for c in all_cases(["lateral_sharing"], quick=quick))
        side = next(s for s in case.sides if s.name == "naive")
        wrong = replace(side, name="wrong", build=lambda: lambda t: tuple(2 * y for y in side.build()(t)))
        return [replace(case, sides=(side, wrong))]

    monkeypatch.setattr(run, "cases", broken)
    assert run.main(["--quick", "--output", str(tmp_path)]) == 1
    assert "lateral_sharing float32, wrong: wrong: value off by 1.0e+00" in capsys.readouterr().err
    rows = measured(tmp_path)["cases"][0]["rows"]
    assert [row["status"] for row in rows] == ["ok", "red"]


def test_busy_processes_end_with_the_run() -> None:
    with run.busy(2) as started:
        assert [process.poll() for process in started] == [None, None]
    assert all(process.poll() is not None for process in started)


@pytest.mark.parametrize(
    "arguments", [["--op", "convolution"], ["--backend", "jax"], ["--device", "tpu"], ["--busy", "-1"]]
)
def test_wrong_arguments_end_with_code_2(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run.main(arguments)
    assert stop.value.code == 2


def test_cuda_without_a_device_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stop:
        run.main(["--device", "cuda"])
    assert stop.value.code == 2
    assert "expected a CUDA device" in capsys.readouterr().err
