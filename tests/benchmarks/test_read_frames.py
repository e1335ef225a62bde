"""The benchmark of reading runs, and its file has the chunks that it says."""

from __future__ import annotations

from pathlib import Path

import h5py
import pytest

from benchmarks import read_frames, reading
from depthattn.data import NYUDepthV2, SyntheticRooms


def test_a_line_for_each_way_to_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(read_frames, "SIZE", (24, 32))
    options = ["--frames", "3", "--workers", "1", "--lines", "20", "--output", str(tmp_path)]
    assert read_frames.main(options) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["h5py", "NYUDepthV2", "DataLoader, workers 1"]
    assert lines[3].startswith("list of 20 lines opens in ")
    (result,) = reading.newest(tmp_path)
    assert list(result["frames_per_second"]) == ["h5py", "NYUDepthV2", "DataLoader, workers 1"]
    page = "\n".join(reading.section([result]))
    assert "| 1.00x |\n| NYUDepthV2 |" in page
    assert "A list of 20 lines" in page


def test_its_file_is_like_the_official_one(tmp_path: Path) -> None:
    read_frames.write_like_nyu(tmp_path / "a.mat", 5, (180, 240))
    with h5py.File(tmp_path / "a.mat") as file:
        assert {key: file[key].chunks for key in file} == {
            "images": (2, 1, 160, 120),
            "rawDepths": (1, 80, 120),
            "labels": (1, 80, 120),
        }
    room, frame = SyntheticRooms(4, size=(180, 240))[0], NYUDepthV2(tmp_path / "a.mat", [0])[0]
    assert frame["depth"].equal(room["depth"])
