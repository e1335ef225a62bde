"""From a run folder to its report.html."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn

from reporting import scores
from reporting.charts import page_colours
from reporting.frames import FramePages
from reporting.measure import Predict, measure
from reporting.page import page
from reporting.record import read_record
from scripting.console import live_progress
from training.checkpoint import write_text
from training.settings import Settings
from training.sources import Source

REPORT = "report.html"


def write_report(folder: Path, source: Source, settings: Settings, predict: Predict, console: Console) -> Path:
    """Measure the best weights of a run and write one page about it, whole or not at all.

    Args:
        folder: of the run, with config.json, metrics.jsonl and the best checkpoint.
        source: the frames of the run.
        settings: of the run.
        predict: the best weights: images (B, 3, H, W) to depth (B, 1, H, W) and classes (B, H, W), on the CPU.
        console: where a bar shows how far it is.

    Returns:
        The page: one file that loads nothing.

    Raises:
        ValueError: a file of the run is missing or damaged, or its frames cannot be read; the message names it.
    """
    record = read_record(folder)
    names = source.class_names
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with live_progress(console, *columns) as progress:
        task = progress.add_task("report")
        measured = measure(
            source,
            settings,
            predict,
            lambda title, done, total: progress.update(
                task, description=f"report: {title}", completed=done, total=total
            ),
        )
        progress.update(task, description="report: drawing", total=None)
        with page_colours():
            frames = FramePages(source, measured, settings, predict)
            sections = [
                scores.summary(record, measured),
                scores.curves(record, measured),
                scores.training_set(measured),
                scores.depth_bins(measured),
                scores.classes(measured, names),
                frames.sheets(),
                frames.attention(),
                frames.cloud(),
                scores.gates(record),
            ]
    path = folder / REPORT
    write_text(path, page(f"Run {folder.resolve().name}", sections))
    return path
