from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.benchmarks import tiny

from benchmarks import chart, reading, report, results
from depthattn.viz.looks import dark_path


@pytest.fixture(scope="module")
def page() -> list[str]:
    return report.render([tiny.result()], {"Some CPU with AVX2, 2 threads": ["bars.png"]}).splitlines()


def test_rows_state_times_speed_memory_and_bandwidth(page: list[str]) -> None:
    assert "| **cpu** | 2 | 4 | 8 (7.2 - 9.6) | 4.00x | 0.5 | 1 | 15 % |" in page
    assert "| naive | 8 | 16 | 32 (28.8 - 38.4) | 1.00x | 8 | 16 | 15 % |" in page


def test_it_opens_with_one_row_for_each_case(page: list[str]) -> None:
    at = page.index("| ms | depthattn | naive | torch.compile | alternative | peak MiB | naive, MiB |")
    assert page[at + 2] == "| Title of depth_aware | 8 | 32 (4.0x) |  | faster thing: 2 (0.2x) | 1 | 16 |"
    assert at < page.index("## How it is measured") < page.index("## Targets")


def test_faster_rows_and_their_definition_are_shown(page: list[str]) -> None:
    assert "| faster thing \\* | 0.5 | 1 | 2 (1.8 - 2.4) | 16.00x | 0.5 | 1 | 15 % |" in page
    assert "- \\* faster thing: computes less." in page


def test_sides_without_a_time_state_why(page: list[str]) -> None:
    assert "- triton: not run, needs cuda tensors." in page
    assert "- **broken thing: red**, wrong: value off by 1.0e+00, gradient by 2.0e+00." in page


def test_targets_stand_beside_what_was_measured(page: list[str]) -> None:
    assert "| cpu | >= 5x naive | 4.00x | **missed** |" in page
    assert "| cpu | peak <= 1.1x bytes | 1.00x | met |" in page
    assert "| triton | >= 5x naive | not measured |  |" in page
    assert "Some CPU with AVX2, 2 threads: 1 of 2 targets met." in page
    assert "| depth_aware | cpu | >= 5x naive | 4.00x |" in page


def test_series_is_per_pixel_in_order_of_size(page: list[str]) -> None:
    at = page.index("| megapixels | cpu ns/pixel | cpu peak bytes/pixel |")
    assert page[at + 2 : at + 4] == ["| 1.0 | 1.00 | 1.0 |", "| 10.0 | 2.00 | 1.0 |"]


def test_calls_on_a_few_pixels_are_in_microseconds(page: list[str]) -> None:
    assert "| call | cpu | 250 | 225 | 300 |" in page
    assert "| call | smooth | 125 | 112 | 150 |" in page


def test_runs_beside_busy_processes_have_a_section_of_their_own() -> None:
    page = report.render([tiny.result(), tiny.result(busy=2)], {}).splitlines()
    assert "## Some CPU with AVX2, 2 threads" in page
    assert "## Some CPU with AVX2, 2 threads, beside 2 busy processes" in page


@pytest.mark.parametrize(
    ("quantity", "words"),
    [("time", "time <= 2x other"), ("bandwidth", ">= 2x other"), ("growth", "per pixel <= 2x other")],
)
def test_targets_say_what_they_compare(quantity: str, words: str) -> None:
    target = {"quantity": quantity, "side": "cpu", "versus": "other", "wanted": 2, "measured": 1.5, "met": True}
    assert report.target_line(target) == ["cpu", words, "1.50x", "met"]


def test_machine_command_and_commit_are_named(page: list[str]) -> None:
    text = "\n".join(page)
    for fact in (
        "Some CPU with AVX2, 2 cores, 2 threads, 24 GiB",
        "21.5 GB/s",
        "`OMP_WAIT_POLICY=PASSIVE python benchmarks/run.py --device cpu`",
        "0123456789abcdef with uncommitted changes",
        "torch 2.13.0",
        "![Bars of time for each side of each case on Some CPU with AVX2, 2 threads](bars.png)",
    ):
        assert fact in text
    assert "kornia" not in text


def test_page_without_results() -> None:
    assert "No complete run has been recorded yet." in report.render([], {})


def test_main_writes_page_and_charts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results.write(tiny.result(), tmp_path / "results")
    assert report.main(["--results", str(tmp_path / "results"), "--docs", str(tmp_path / "docs")]) == 0
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    for name in ("benchmarks-some-cpu-2-threads.png", "benchmarks-some-cpu-2-threads-sizes.png"):
        assert f"]({name})" in page
        for path in (tmp_path / "docs" / name, dark_path(tmp_path / "docs" / name)):
            with Image.open(path) as picture:
                pixels = np.asarray(picture.convert("RGB"))
            # The blue of our bars and lines is there.
            assert (pixels == (0x1F, 0x6F, 0xEB)).all(-1).sum() > 100
    assert "wrote" in capsys.readouterr().out


def test_main_names_a_broken_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "results" / "some-cpu"
    folder.mkdir(parents=True)
    (folder / "2026-01-01.json").write_text("{")
    assert report.main(["--results", str(tmp_path / "results"), "--docs", str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith("benchmarks/report.py: ")


def test_committed_page_is_the_one_of_the_committed_results() -> None:
    found = results.newest(results.DEFAULT)
    charts = {}
    for result in found:
        charts[results.title_of(result)] = names = chart.names_of(result)
        charts_of_both_looks = [path for name in names for path in (Path(name), dark_path(Path(name)))]
        assert all((report.ROOT / "docs" / path).exists() for path in charts_of_both_looks)
    page = report.ROOT / "docs" / "benchmarks.md"
    assert page.read_text(encoding="utf-8") == report.render(found, charts, reading.newest(results.DEFAULT))
