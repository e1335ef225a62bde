"""What a finished run leaves for the reader: the result beside its baselines, and the figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from rich.console import RenderableType
from torch import Tensor
from torch.utils.data import Dataset

from depthattn.data import Sample
from depthattn.viz import Frame, Panel, contact_sheet, plot_curves
from scripting.outputs import save_figure
from training.baselines import Baselines
from training.console import result_table
from training.engine import LOSSES, Engine
from training.settings import Settings
from training.sources import evenly

_SHEET_ROWS = 4
_SHEET_CANDIDATES = 64
# How far a frame reaches: what a few pixels see through a door does not count.
_REACH = 0.95
_LOSS_NAMES = ("total", "depth-aware", "joint gradient", "semantic focal")


# Columns of a terminal that the whole table of results needs.
_WIDE = 72


def results(title: str, scores: Mapping[str, float], baseline: Baselines, width: int) -> RenderableType:
    """The scores of the model beside those of predictors that never look at the image, for a ``width`` in columns."""
    rmse, miou = scores["rmse"], scores["miou"]
    constant = f"best constant: the mean training depth, {baseline.depth:.2f} m"
    chance = "random baseline: labels drawn at their training frequencies"
    rows = [
        ("depth RMSE", f"{rmse:.3f} m", f"{baseline.rmse:.3f} m", _times(rmse, baseline.rmse), constant),
        ("depth AbsRel", f"{scores['abs_rel']:.3f}", "", "", ""),
        ("delta1", f"{scores['delta1']:.1%}", "", "", ""),
        ("mIoU", f"{miou:.1%}", f"{baseline.miou:.1%}", _times(miou, baseline.miou), chance),
        ("pixel accuracy", f"{scores['pixel_accuracy']:.1%}", "", "", ""),
    ]
    # A score without ground truth is NaN; so is a baseline, where the training set has none.
    rows = [tuple("" if "nan" in cell else cell for cell in row) for row in rows if "nan" not in row[1]]
    return result_table(title, rows, narrow=width < _WIDE)


def _times(score: float, baseline: float) -> str:
    return f"{score / baseline:.2f} x" if baseline else ""


def draw_curves(history: Sequence[Mapping[str, float]], baseline: Baselines, path: Path) -> None:
    losses = dict(zip(LOSSES, _LOSS_NAMES, strict=True))
    panels = [
        Panel("training loss", {f"train/{key}": name for key, name in losses.items()}, log=True),
        Panel("validation loss", {f"val/{key}": name for key, name in losses.items()}, log=True),
        Panel("validation depth", {"val/rmse": "RMSE"}, "m", {"best constant": baseline.rmse}),
        Panel(
            "validation labels",
            {"val/pixel_accuracy": "pixel accuracy", "val/miou": "mIoU"},
            "",
            {"random baseline, mIoU": baseline.miou},
        ),
    ]
    save_figure(plot_curves(history, [panel for panel in panels if _has_points(panel, history)]), path)


def _has_points(panel: Panel, history: Sequence[Mapping[str, float]]) -> bool:
    return any(math.isfinite(row.get(key, math.nan)) for row in history for key in panel.curves)


def draw_contact_sheet(
    engine: Engine, validation: Dataset[Sample], class_names: Sequence[str], settings: Settings, path: Path
) -> None:
    save_figure(sheet_of(engine.predict, validation, class_names, settings), path)


def sheet_of(
    predict: Callable[[Tensor], tuple[Tensor, Tensor]],
    validation: Dataset[Sample],
    class_names: Sequence[str],
    settings: Settings,
) -> Any:
    """The contact sheet of a run, as a figure; ``predict`` gives depth and classes of images, on the CPU."""
    samples = _from_near_to_far(validation)
    depth, classes = predict(torch.stack([sample["image"] for sample in samples]))
    if not class_names:
        classes = torch.full_like(classes, -100)
    frames = [
        Frame(sample["image"], sample["depth"], depth[row], sample["labels"], classes[row])
        for row, sample in enumerate(samples)
    ]
    return contact_sheet(
        frames,
        class_names=class_names or ("none",),
        max_depth=settings.max_depth,
        log_offset=settings.log_offset,
    )


def _from_near_to_far(validation: Dataset[Sample]) -> list[Sample]:
    """The last frame of each of a few equal parts of the frames, ordered by how far their depth reaches."""
    frames = [validation[index] for index in evenly(len(validation), _SHEET_CANDIDATES)]
    frames.sort(key=lambda frame: _reach(frame["depth"]))
    rows = min(_SHEET_ROWS, len(frames))
    return [frames[row * len(frames) // rows - 1] for row in range(1, rows + 1)]


def _reach(depth: Tensor) -> float:
    known = depth[depth > 0]
    return float(known.quantile(_REACH)) if known.numel() else 0.0
