"""From a data set on the command line to numbers and pictures of its long tail."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from depthattn.viz import plot_depth_histogram
from distribution.counting import Distribution, Maps, count_maps, open_maps
from distribution.pictures import draw_classes, draw_cumulative
from distribution.settings import PROGRAM, Settings, parse
from scripting.console import exit_status, frame_progress, new_console
from scripting.outputs import check_free, save_figure

_HISTOGRAM, _CUMULATIVE, _CLASSES = "depth_histogram.png", "depth_cumulative.png", "classes.png"


def main(argv: Sequence[str] | None = None) -> int:
    """Count and draw as the command line says; returns the exit status."""
    settings = parse(argv)
    return exit_status(PROGRAM, lambda: _distribute(settings, new_console()), "nothing is drawn")


def _distribute(settings: Settings, console: Console) -> None:
    check_free("--output", settings.output, (_HISTOGRAM, _CUMULATIVE, _CLASSES), overwrite=settings.overwrite)
    maps = open_maps(settings)
    with frame_progress(console) as progress:
        task = progress.add_task("counting", total=maps.count)
        found = count_maps(maps, settings, lambda: progress.advance(task))
    for line in summary(found, maps, settings):
        console.print(line, markup=False, soft_wrap=True)
    draw(found, maps, settings)
    console.print(f"pictures    {settings.output}", markup=False, soft_wrap=True)


def summary(found: Distribution, maps: Maps, settings: Settings) -> list[str]:
    """The numbers, a line each."""
    histogram, counts = found.histogram, found.class_counts
    pixels = histogram.measured + histogram.missing
    lines = [
        f"data        {maps.title}, {maps.count} frames, {pixels:,} pixels",
        f"missing     {histogram.missing / pixels:.1%} of all pixels have no depth",
        f"median      {histogram.quantile(0.5):.2f} m; 90 % nearer than {histogram.quantile(0.9):.2f} m, "
        f"99 % nearer than {histogram.quantile(0.99):.2f} m",
        f"tail        the farthest {settings.tail:.0%} begin at {histogram.quantile(1 - settings.tail):.2f} m",
        f"beyond      {histogram.beyond / histogram.measured:.2%} of the measured pixels are farther than "
        f"{histogram.max_depth:g} m",
    ]
    if counts.sum() > 0:
        occurring = int((counts > 0).sum())
        most, least = int(counts.argmax()), int(counts.where(counts > 0, counts.max() + 1).argmin())
        lines.append(
            f"classes     {occurring} of {len(counts)} occur; {maps.class_names[most]} has "
            f"{counts[most] / counts.sum():.1%} of the labelled pixels, {maps.class_names[least]} "
            f"{counts[least] / counts.sum():.3%}: {counts[most] / counts[least]:,.0f} times fewer"
        )
    return lines


def draw(found: Distribution, maps: Maps, settings: Settings) -> None:
    settings.output.mkdir(parents=True, exist_ok=True)
    save_figure(plot_depth_histogram(found.histogram, tail=settings.tail), settings.output / _HISTOGRAM)
    draw_cumulative(found.histogram, settings.output / _CUMULATIVE)
    if found.class_counts.sum() > 0:
        draw_classes(found.class_counts, maps.class_names, settings.output / _CLASSES)
