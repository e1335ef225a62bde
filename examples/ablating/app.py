"""An ablation from the command line to the table."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ablating.frames import open_frames
from ablating.picture import draw_effects
from ablating.results import Results
from ablating.settings import PROGRAM, Request, parse
from ablating.table import markdown, write_into
from ablating.trial import run_trial
from ablating.variants import LADDER, Variant
from depthattn._extras import require
from scripting.console import exit_status, new_console
from scripting.outputs import check_output


def main(argv: Sequence[str] | None = None) -> int:
    """Train and compare as the command line says; returns the exit status."""
    request = parse(argv)
    return exit_status(PROGRAM, lambda: _ablate(request), "the same command goes on with what is missing")


def _ablate(request: Request) -> None:
    # Before an hour of training, not after it.
    require("scipy.stats", extra="train", purpose=PROGRAM)
    check_output("--output", request.output)
    results = Results(request.output, request.settings)
    _train(request, results)
    _report(request, results)


def _train(request: Request, results: Results) -> None:
    """Every trial that has no result yet, seed by seed, so that rooms are made once for a seed."""
    missing = {
        seed: variants
        for seed in request.seeds
        if (variants := [variant for variant in LADDER if results.load(variant, seed) is None])
    }
    console = new_console()
    columns = (
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        TextColumn("ETA"), TimeRemainingColumn(),
    )  # fmt: skip
    total = sum(map(len, missing.values()))
    with Progress(*columns, console=console, disable=not console.is_terminal, speed_estimate_period=300.0) as bar:
        all_trials = bar.add_task("", total=total, visible=total > 0)
        done = 0
        for seed, variants in missing.items():
            bar.update(all_trials, description=f"frames of seed {seed}")
            frames = open_frames(request.settings, seed)
            for variant in variants:
                bar.update(all_trials, description=f"seed {seed}, {variant.title}")
                started = time.monotonic()
                scores = run_trial(
                    variant, seed, frames, request.settings,
                    lambda share, done=done: bar.update(all_trials, completed=done + share),
                )  # fmt: skip
                seconds = round(time.monotonic() - started, 1)
                results.save(variant, seed, scores, {"data": frames.title, "seconds": seconds})
                done += 1
                line = _line(seed, variant, scores, seconds)
                console.print(f"{done:3d}/{total}  {line}", markup=False, soft_wrap=True)


def _line(seed: int, variant: Variant, scores: dict[str, float], seconds: float) -> str:
    return (
        f"seed {seed}  {variant.title:16} RMSE {scores['rmse']:.3f} m  far {scores['rmse_far']:.3f} m  "
        f"mIoU {scores['miou']:.1%}  rare {scores['rare_iou']:.1%}  {seconds:.0f} s"
    )


def _report(request: Request, results: Results) -> None:
    outcome = {v.key: [results.load(v, s) or {} for s in request.seeds] for v in LADDER}
    text = markdown(outcome, request.seeds)
    table = request.output / "table.md"
    table.write_text(f"{text}\n", encoding="utf-8")
    print(f"table    {table}")
    if request.page is not None:
        write_into(request.page, text)
        print(f"page     {request.page}")
    for picture in (request.output / "effects.png", request.picture):
        if picture is not None:
            draw_effects(outcome, len(request.seeds), picture)
            print(f"picture  {picture}")
