from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from tests.benchmarks import tiny

from benchmarks import results
from benchmarks.machine import slug


def changed(path: str, value: Any) -> dict[str, Any]:
    record = copy.deepcopy(tiny.result())
    *parents, last = path.split("/")
    place: Any = record
    for key in parents:
        place = place[int(key) if key.isdigit() else key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return record


class TestValidate:
    def test_accepts_a_result(self) -> None:
        results.validate(tiny.result())

    @pytest.mark.parametrize(
        ("path", "value", "place"),
        [
            ("machine/hostname", "box", r"\$\.machine"),
            ("machine/slug", "/root/here", r"\$\.machine\.slug"),
            ("versions", None, r"\$ "),
            ("date", "yesterday", r"\$\.date"),
            ("cases", [], r"\$\.cases"),
            ("cases/0/rows/0/status", "fine", r"\$\.cases\[0\]\.rows\[0\]"),
            ("cases/0/rows/0/time_ms", None, r"\$\.cases\[0\]\.rows\[0\]"),
            ("cases/0/rows/4/time_ms", tiny.row("x", "ours", 1.0, 1)["time_ms"], r"\$\.cases\[0\]\.rows\[4\]"),
            ("cases/0/rows/1/reason", None, r"\$\.cases\[0\]\.rows\[1\]"),
        ],
    )
    def test_names_the_place_that_does_not_follow(self, path: str, value: Any, place: str) -> None:
        with pytest.raises(ValueError, match=f"benchmark result: expected {place}"):
            results.validate(changed(path, value))


class TestFiles:
    def test_complete_run_is_named_by_its_date(self, tmp_path: Path) -> None:
        path = results.write(tiny.result(), tmp_path)
        assert path == tmp_path / "some-cpu-2-threads" / "2026-11-22.json"
        assert json.loads(path.read_text()) == tiny.result()

    @pytest.mark.parametrize(("flags", "name"), [({"quick": True}, "quick"), ({"quick": False}, "partial")])
    def test_other_runs_say_so_in_their_name(self, tmp_path: Path, flags: dict[str, bool], name: str) -> None:
        path = results.write(tiny.result(complete=False, **flags), tmp_path)
        assert path.name == f"2026-11-22-{name}.json"

    def test_runs_beside_busy_processes_say_so_in_their_name(self, tmp_path: Path) -> None:
        assert results.write(tiny.result(busy=2), tmp_path).name == "2026-11-22-busy2.json"

    def test_floats_are_rounded_to_five_digits(self, tmp_path: Path) -> None:
        path = results.write(tiny.result(copy_bandwidth=12345678901.0), tmp_path)
        assert json.loads(path.read_text())["copy_bandwidth"] == 12346000000.0

    def test_invalid_result_leaves_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match="schema"):
            results.write(tiny.result(cases=[]), tmp_path)
        assert list(tmp_path.iterdir()) == []

    def test_newest_takes_the_last_complete_run_of_each_machine(self, tmp_path: Path) -> None:
        other = {**tiny.result()["machine"], "slug": "another-cpu"}
        for record in (
            tiny.result(),
            tiny.result(date="2026-12-01T00:00:00Z"),
            tiny.result(date="2026-12-05T00:00:00Z", complete=False),
            tiny.result(machine=other),
            tiny.result(busy=2),
        ):
            results.write(record, tmp_path)
        found = [(r["machine"]["slug"], r["busy"], r["date"][:10]) for r in results.newest(tmp_path)]
        assert found == [
            ("another-cpu", 0, "2026-11-22"),
            ("some-cpu-2-threads", 0, "2026-12-01"),
            ("some-cpu-2-threads", 2, "2026-11-22"),
        ]

    def test_newest_of_nothing(self, tmp_path: Path) -> None:
        assert results.newest(tmp_path / "none") == []

    def test_recorded_results_follow_the_schema(self) -> None:
        for path in results.DEFAULT.glob("*/*.json"):
            results.validate(json.loads(path.read_text()))


def test_slug_keeps_letters_and_digits() -> None:
    assert slug("Intel(R) Xeon(R) CPU @ 2.20GHz 2 threads") == "intel-r-xeon-r-cpu-2-20ghz-2-threads"
