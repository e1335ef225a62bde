"""An ablation from the command line to the tables."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ablating.features import compute_features
from ablating.frames import Frames, check_truth, open_frames, thirds
from ablating.network import build_model, target_stride
from ablating.picture import draw_effects
from ablating.results import Results
from ablating.settings import PROGRAM, Request, parse
from ablating.study import Study
from ablating.table import around_tables, markdown, write_into
from ablating.trial import Task, run_trial
from ablating.variants import BASE, Variant, variants_of
from depthattn._extras import require
from scripting.console import exit_status, frame_progress, new_console
from scripting.outputs import check_output
from training.baselines import count_classes
from training.checkpoint import write_text


def main(argv: Sequence[str] | None = None) -> int:
    """Train and compare as the command line says; returns the exit status."""
    request = parse(argv)
    return exit_status(PROGRAM, lambda: _ablate(request), "the same command goes on with what is missing")


def _ablate(request: Request) -> None:
    # Before an hour of training, not after it.
    for module in ("scipy.stats", "torchmetrics"):
        require(module, extra="train", purpose=PROGRAM)
    check_output("--output", request.output)
    # What is written last is looked at first: there may be hours in between.
    if request.page is not None:
        around_tables(request.page)
    if request.picture is not None:
        check_output("--picture", request.picture.parent)
    results = Results(request.output, request.settings)
    if not request.report_only:
        _train(request, results)
    _report(request, results)


def _train(request: Request, results: Results) -> None:
    """Every trial that has no result yet, seed by seed, so that what there is when time ends can be compared."""
    missing = [
        (variant, seed)
        for seed in request.seeds
        for variant in variants_of(request.families)
        if results.load(variant, seed) is None
    ]
    if not missing:
        return
    console = new_console()
    frames = open_frames(request.settings)
    task = _prepare(frames, request, console)
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("ETA"), TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=300.0) as bar:
        all_trials = bar.add_task("", total=len(missing))
        for done, (variant, seed) in enumerate(missing):
            bar.update(all_trials, description=f"seed {seed}, {variant.title}")
            started = time.monotonic()
            scores = run_trial(
                variant, seed, task, request.settings,
                lambda share, done=done: bar.update(all_trials, completed=done + share),
            )  # fmt: skip
            seconds = round(time.monotonic() - started, 1)
            results.save(variant, seed, scores, {"data": frames.title, "seconds": seconds})
            line = _line(seed, variant, scores, seconds)
            console.print(f"{done + 1:3d}/{len(missing)}  {line}", markup=False, soft_wrap=True)


def _prepare(frames: Frames, request: Request, console: Console) -> Task:
    """The features of all frames; the frozen part is the same in every variant and seed."""
    model = build_model(BASE, len(frames.class_names), request.settings, seed=0)
    if torch.accelerator.is_available():
        model = model.to(torch.accelerator.current_accelerator())
    parts = []
    with frame_progress(console) as bar:
        for name, dataset, mirrored in (("train", frames.train, True), ("score", frames.validation, False)):
            counter = bar.add_task(f"features of the frames to {name}", total=len(dataset))
            parts.append(
                compute_features(
                    model, dataset, target_stride(request.settings), mirrored=mirrored,
                    on_frame=lambda done, counter=counter: bar.update(counter, completed=done),
                )
            )  # fmt: skip
    train, validation = parts
    for words, part in (("frames to train on", train), ("frames to score", validation)):
        check_truth(part.depth, part.labels, request.settings.max_depth, f"{frames.title}: {words}")
    counts = count_classes(train.labels.long(), len(frames.class_names))
    return Task(train, validation, counts, thirds(train.depth, request.settings.max_depth))


def _line(seed: int, variant: Variant, scores: dict[str, float], seconds: float) -> str:
    shown = (
        f"{title} {scores[name]:.3f}"
        for name, title in (("rmse", "RMSE"), ("rmse_far_third", "far third"), ("miou", "mIoU"))
        if name in scores
    )
    return f"seed {seed}  {variant.title:24} {'  '.join(shown)}  {seconds:.0f} s"


def _report(request: Request, results: Results) -> None:
    study = Study(request.families, request.seeds, results.load)
    text = markdown(study)
    table = request.output / "table.md"
    write_text(table, f"{text}\n")
    print(f"table    {table}")
    if request.page is not None:
        write_into(request.page, text)
        print(f"page     {request.page}")
    for picture in (request.output / "effects.png", request.picture):
        if picture is not None:
            draw_effects(study, picture)
            print(f"figure   {picture}")
