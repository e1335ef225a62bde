"""The sections of numbers: summary, curves, training set, errors by depth, classes, gates."""

from __future__ import annotations

import math
from collections.abc import Sequence

from depthattn.viz import Panel, plot_curves, plot_depth_bins, plot_depth_histogram
from reporting.charts import CHART, inline_svg
from reporting.measure import Measured
from reporting.page import Section, facts, figure, folded, grid, paragraph, table, text
from reporting.record import RunRecord

TAIL = 0.1
_CLASSES_SHOWN = 40
_BIN_COLUMNS = (("rmse", ".3f"), ("bias", "+.3f"), ("abs_rel", ".3f"), ("delta1", ".1%"))
_LOSSES = {"total": "total", "depth_aware": "depth-aware", "joint_gradient": "joint gradient",
           "semantic_focal": "semantic focal"}  # fmt: skip


def summary(record: RunRecord, measured: Measured) -> Section:
    scores, baseline = measured.scores, measured.baseline
    constant = f"best constant, {baseline.depth:.2f} m: {baseline.rmse:.3f} m"
    chance = f"random baseline: {baseline.miou:.1%}"
    tiles = [
        _tile("depth RMSE", scores["rmse"], "{:.3f} m", constant if math.isfinite(baseline.rmse) else ""),
        _tile("depth AbsRel", scores["abs_rel"], "{:.3f}", "mean of |error| / true depth"),
        _tile("delta1", scores["delta1"], "{:.1%}", "of pixels, within a factor of 1.25"),
        _tile("mIoU", scores["miou"], "{:.1%}", chance if math.isfinite(baseline.miou) else ""),
        _tile("pixel accuracy", scores["pixel_accuracy"], "{:.1%}", "of labelled pixels"),
    ]
    config, settings = record.config, record.config["settings"]
    versions = ", ".join(f"{name} {number}" for name, number in config.get("versions", {}).items())
    seconds = sum(row.get("seconds", 0.0) for row in record.history)
    rows = [
        ("command", config.get("command", "")),
        ("started", config.get("started") or "not recorded"),
        ("data", config["data"]),
        ("image size", " x ".join(map(str, settings.get("size", ()))) + " pixels (height x width)"),
        ("network", _network(config["model"])),
        ("training", f"{len(record.history)} of {settings.get('epochs')} epochs in {_duration(seconds)}, "
                     f"seed {settings.get('seed')}; shown here: epoch {record.best_epoch}, the best"),
        ("device", f"{config.get('device')}, precision {settings.get('precision')}, "
                   f"{_counted(config.get('processes', 1), 'process', 'processes')}"),
        ("versions", versions),
        ("commit", config.get("commit") or "not recorded"),
    ]  # fmt: skip
    every = facts([(name, "-" if value is None else value) for name, value in settings.items()])
    scored = paragraph(f"Scores of the best weights on {len(measured.frames)} validation frames, at the image size.")
    return Section(
        "summary",
        "Summary",
        grid([tile for tile in tiles if tile], "tiles") + scored + facts(rows) + folded("every setting", every),
    )


def curves(record: RunRecord, measured: Measured) -> Section:
    baseline = measured.baseline
    panels = [
        Panel("training loss", {f"train/{key}": name for key, name in _LOSSES.items()}, log=True),
        Panel("validation loss", {f"val/{key}": name for key, name in _LOSSES.items()}, log=True),
        Panel("validation depth", {"val/rmse": "RMSE"}, "RMSE in m", {"best constant": baseline.rmse}),
        Panel("validation depth", {"val/abs_rel": "AbsRel", "val/delta1": "delta1"}),
        Panel(
            "validation labels",
            {"val/pixel_accuracy": "pixel accuracy", "val/miou": "mIoU"},
            "",
            {"random baseline, mIoU": baseline.miou},
        ),
        Panel("learning rate", {"lr": "at the end of the epoch"}),
    ]
    charts = _drawn(record, panels, "curves")
    if not charts:
        return Section("curves", "Curves", paragraph("No epoch was finished.", "note"))
    few = " There is one epoch, so each curve is a single point." if len(record.history) == 1 else ""
    caption = (
        "Losses (no unit, logarithmic), depth errors in metres and shares by epoch. What to look for: validation that "
        "rises while training falls is overfitting; a score no better than its dashed baseline means that the network "
        f"has learnt nothing.{few}"
    )
    return Section("curves", "Curves", figure(grid(charts, "charts"), caption))


def training_set(measured: Measured) -> Section:
    histogram, title = measured.histogram, "Depth of the training set"
    if not histogram.measured:
        return Section("data", title, paragraph("The training frames have no true depth.", "note"))
    start, total = histogram.quantile(1 - TAIL), histogram.measured + histogram.missing
    charts = [
        inline_svg(
            plot_depth_histogram(histogram, tail=TAIL, log=log, size=CHART),
            f"histogram{int(log)}",
            f"Share of training pixels by depth, {scale}; the tail begins at {start:.2f} m",
        )
        for log, scale in ((False, "linear"), (True, "logarithmic"))
    ]
    caption = (
        f"Share of pixels per {histogram.edges[1]:g} m of true depth, linear and logarithmic. The long tail, in "
        f"orange, are the farthest {TAIL:.0%} of the pixels: beyond {start:.2f} m. What to look for: the longer and "
        "thinner it is, the less it counts in a mean over all pixels."
    )
    rows = [
        ("frames looked at", f"{measured.statistics.frames}"),
        ("pixels without depth", f"{histogram.missing / total:.1%}"),
        ("median depth", f"{histogram.quantile(0.5):.2f} m"),
        ("the tail begins at", f"{start:.2f} m"),
        (f"farther than {histogram.max_depth:g} m", f"{histogram.beyond / histogram.measured:.2%} of pixels"),
    ]
    return Section("data", title, figure(grid(charts, "charts"), caption) + facts(rows))


def depth_bins(measured: Measured) -> Section:
    title = "Error by depth"
    if not measured.has_depth:
        return Section("bins", title, paragraph("The validation frames have no true depth.", "note"))
    bins, edges = measured.bins, measured.edges
    pixels = [int(count) for count in bins["pixels"]]
    has_constant = math.isfinite(measured.baseline.depth)
    constant = f" Dashed: the best constant depth, {measured.baseline.depth:.2f} m." if has_constant else ""
    reference = measured.constant_bins if has_constant else ()
    chart = inline_svg(
        plot_depth_bins(edges, bins["rmse"], pixels, reference=reference, size=(CHART[0], 3.8)),
        "bins",
        "Depth RMSE in metres and share of pixels by range of true depth",
    )
    caption = (
        f"RMSE in metres in {len(pixels)} ranges of true depth, and the share of pixels of each.{constant} "
        "What to look for: how fast the error grows where pixels get rare, and a bias (the mean of prediction minus "
        "ground truth) below zero: pixels predicted too near."
    )
    rows = [
        [
            f"{low:g} to {high:g}",
            f"{pixel:,}",
            f"{pixel / sum(pixels):.1%}",
            *(_number(bins[name][row], spec) for name, spec in _BIN_COLUMNS),
            _number(measured.constant_bins[row], ".3f"),
        ]
        for row, (low, high, pixel) in enumerate(zip(edges[:-1], edges[1:], pixels, strict=True))
    ]
    headings = (
        "true depth in m",
        "pixels",
        "share",
        "RMSE in m",
        "bias in m",
        "AbsRel",
        "delta1",
        "constant: RMSE in m",
    )
    return Section("bins", title, figure(f'<div class="beside">{chart}{table(headings, rows)}</div>', caption))


def classes(measured: Measured, names: Sequence[str]) -> Section:
    title = "IoU by class"
    if not measured.has_labels:
        return Section("classes", title, paragraph("The validation frames have no labels.", "note"))
    confusion = measured.confusion.double()
    hits, truth, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    iou = (hits / (truth + predicted - hits)).tolist()
    counts = measured.statistics.class_counts.tolist()
    rare = rare_classes(counts)
    present = [index for index in range(len(names)) if math.isfinite(iou[index])]
    order = sorted(present, key=lambda index: (-iou[index], -counts[index]))
    rows = [
        [
            text(names[index]) + _mark("rare" if index in rare else "unseen" if not counts[index] else ""),
            f'<div class="meter"><div style="width:{100 * iou[index]:.1f}%"></div></div>',
            f"{iou[index]:.1%}",
            f"{counts[index] / max(sum(counts), 1):.2%}",
            f"{int(truth[index]):,}",
            _confused(confusion[index].tolist(), index, names),
        ]
        for index in order
    ]
    headings = ("class", "", "IoU", "share of training pixels", "pixels to score", "most often confused with")
    body = table(headings, rows[:_CLASSES_SHOWN])
    if len(rows) > _CLASSES_SHOWN:
        body += folded(f"{len(rows) - _CLASSES_SHOWN} more classes", table(headings, rows[_CLASSES_SHOWN:]))
    absent = len(names) - len(present)
    caption = (
        f"Intersection over union of each class, best first. Rare: the smallest classes that "
        f"together hold at most {TAIL:.0%} of the labelled training pixels; unseen: not in the training set. What to "
        "look for: rare classes at 0 %, and what they are confused with."
        + (f" Classes that occur neither in ground truth nor in predictions: {absent}." if absent else "")
    )
    return Section("classes", title, figure(body, caption))


def gates(record: RunRecord) -> Section:
    title = "Gates of the lateral sharing units"
    keys = sorted({key for row in record.history for key in row if key.startswith("gate/")})
    if not keys:
        return Section("gates", title, paragraph("The network has no lateral sharing units.", "note"))
    panels: dict[str, dict[str, str]] = {}
    for key in keys:
        _, unit, direction = key.split("/", 2)
        panels.setdefault(direction.replace("_", " "), {})[key] = unit.replace("sharing", "unit ")
    values = [row[key] for row in record.history for key in keys if math.isfinite(row.get(key, math.nan))]
    lowest, highest = min(0.0, *values), max(0.0, *values)
    room = 0.05 * (highest - lowest) or 0.01
    limits = lowest - room, highest + room
    charts = _drawn(record, [Panel(name, units) for name, units in panels.items()], "gates", limits)
    caption = (
        "Gates by epoch, one chart per direction (no unit; the mean over channels where each channel has a gate). "
        "All begin at 0, where a unit returns its inputs; unit 1 is the coarsest. What to look for: which direction "
        "grows. All charts have one scale."
    )
    return Section("gates", title, figure(grid(charts, "charts"), caption))


def rare_classes(counts: Sequence[int]) -> set[int]:
    """The smallest classes that occur and together hold at most ``TAIL`` of all counts."""
    rare: set[int] = set()
    held, total = 0, sum(counts)
    for index in sorted(range(len(counts)), key=lambda index: counts[index]):
        held += counts[index]
        if held > TAIL * total:
            break
        if counts[index]:
            rare.add(index)
    return rare


def _drawn(
    record: RunRecord, panels: Sequence[Panel], name: str, limits: tuple[float, float] | None = None
) -> list[str]:
    """Those of the panels that have something to show, each as a chart of its own, from limit to limit."""
    charts = []
    for index, panel in enumerate(panels):
        if any(math.isfinite(row.get(key, math.nan)) for row in record.history for key in panel.curves):
            figure = plot_curves(record.history, [panel], size=CHART)
            if limits is not None:
                figure.axes[0].set_ylim(*limits)
            charts.append(inline_svg(figure, f"{name}{index}", f"{panel.title} by epoch: {_in_words(record, panel)}"))
    return charts


def _in_words(record: RunRecord, panel: Panel) -> str:
    """Where the curves of a panel begin and end, for who cannot see them."""
    ends = []
    for key, curve in panel.curves.items():
        values = [row[key] for row in record.history if math.isfinite(row.get(key, math.nan))]
        if values:
            ends.append(f"{curve} from {values[0]:.3g} to {values[-1]:.3g}")
    return "; ".join(ends)


def _tile(name: str, value: float, spec: str, note: str) -> str:
    if not math.isfinite(value):
        return ""
    return (
        f'<div class="score">{text(name)}<strong>{text(spec.format(value))}</strong><small>{text(note)}</small></div>'
    )


def _mark(word: str) -> str:
    return f' <span class="mark">{word}</span>' if word else ""


def _confused(row: Sequence[float], index: int, names: Sequence[str]) -> str:
    wrong = [count if other != index else 0.0 for other, count in enumerate(row)]
    most = max(range(len(wrong)), key=wrong.__getitem__)
    return f"{text(names[most])} ({wrong[most] / sum(row):.0%})" if wrong[most] else ""


def _network(model: dict[str, object]) -> str:
    channels = model.get("decoder_channels")
    shown = " ".join(map(str, channels)) if isinstance(channels, (list, tuple)) else channels
    sharing = f"{model.get('sharing')} lateral sharing" if model.get("sharing") else "no lateral sharing"
    skips = "semi-dense up-skips" if model.get("up_skip") else "no up-skips"
    encoder_skips = ", skips from the encoder" if model.get("encoder_skips") else ""
    return f"SynergyNet on {model.get('encoder')}, decoders of {shown} channels, {sharing}, {skips}{encoder_skips}"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _duration(seconds: float) -> str:
    hours, rest = divmod(round(seconds), 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def _number(value: float, spec: str) -> str:
    return format(value, spec) if math.isfinite(value) else "-"
