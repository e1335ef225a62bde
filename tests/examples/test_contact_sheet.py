"""The rows of a run's contact sheet: a few frames, from near ones to the farthest."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from depthattn.viz import Frame


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Depths of the rows that are drawn of some frames, by the depth in their middle."""
    from training.report import draw_contact_sheet

    drawn: list[Frame] = []

    def record(frames: list[Frame], **_: object) -> Any:
        drawn[:] = frames
        return SimpleNamespace(savefig=lambda file, **_: None)

    monkeypatch.setattr("training.report.contact_sheet", record)
    engine: Any = SimpleNamespace(predict=lambda images: (images[:, :1], images[:, 0].long()))
    settings: Any = SimpleNamespace(max_depth=10.0, log_offset=1.0)

    def depths(validation: Any) -> list[float]:
        draw_contact_sheet(engine, validation, ("floor",), settings, tmp_path / "sheet.png")
        assert all(torch.equal(frame.predicted_depth, frame.image[:1]) for frame in drawn)
        return [float(frame.depth[0, 4, 4]) for frame in drawn]

    return depths


def sample(depth: float) -> dict[str, torch.Tensor]:
    return {
        "image": torch.rand(3, 8, 8),
        "depth": torch.full((1, 8, 8), depth),
        "labels": torch.zeros(8, 8, dtype=torch.long),
    }


def test_from_near_to_far(rows: Any) -> None:
    assert rows([sample(metres) for metres in (5.0, 2.0, 8.0, 1.0, 7.0, 3.0, 4.0, 6.0)]) == [2.0, 4.0, 6.0, 8.0]


def test_what_a_few_pixels_see_does_not_count(rows: Any) -> None:
    door = sample(1.0)
    door["depth"][0, 0, :3] = 9.0
    assert rows([door, sample(2.0), sample(3.0), sample(4.0)]) == [1.0, 2.0, 3.0, 4.0]


def test_few_frames_and_frames_without_depth(rows: Any) -> None:
    assert rows([sample(3.0), sample(0.0)]) == [0.0, 3.0]


def test_of_many_frames_a_part_is_read(rows: Any) -> None:
    read = set()

    class Many:
        def __len__(self) -> int:
            return 1000

        def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
            read.add(index)
            return sample(1.0 + index)

    assert rows(Many())[-1] > 980
    assert len(read) == 64
