"""From a checkpoint or predictions on the command line to scores, their protocol and pictures."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from torch import Tensor
from torch.nn.functional import interpolate

import depthattn
from depthattn import metrics
from depthattn.data import DataError, Sample
from depthattn.viz import plot_depth_bins
from evaluation.pictures import Scored, draw_errors
from evaluation.predictors import Predictor, open_predictor
from evaluation.protocol import Protocol
from evaluation.settings import PROGRAM, Settings, parse
from evaluation.tables import bin_table, class_table, protocol_table, score_table
from evaluation.truth import Truth, open_truth
from scripting.console import exit_status, frame_progress, new_console
from scripting.outputs import check_free, save_figure
from training.checkpoint import write_json
from training.sources import evenly

_BINS, _SHEET_ROWS = 10, 4
_SCORES, _ERRORS, _DEPTH_BINS = "scores.json", "errors.png", "bins.png"
# No model is off by such a factor everywhere; a unit that was taken for another is.
_IMPLAUSIBLE = 3.0


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says; returns the exit status."""
    settings = parse(argv)
    return exit_status(PROGRAM, lambda: _evaluate(settings, new_console()), "nothing is written")


def _evaluate(settings: Settings, console: Console) -> None:
    check_free("--output", settings.output, (_SCORES, _ERRORS, _DEPTH_BINS), overwrite=settings.overwrite)
    truth = open_truth(settings)
    predictor = open_predictor(settings, truth)
    evaluation = Evaluation(settings, truth, predictor)
    evaluation.run(console)
    evaluation.report(console)


class Evaluation:
    """Scores of one predictor on one set of frames.

    Args:
        settings: from the command line.
        truth: the frames.
        predictor: gives the depth of each.
    """

    def __init__(self, settings: Settings, truth: Truth, predictor: Predictor) -> None:
        self.settings = settings
        self.truth = truth
        self.predictor = predictor
        self.protocol = Protocol(settings)
        self.edges = settings.edges or tuple(settings.max_depth * part / _BINS for part in range(_BINS + 1))
        self.scores = {
            pooling: metrics.DepthMetrics(settings.min_depth, settings.max_depth, pooling=pooling)
            for pooling in ("images", "pixels")
        }
        self.boundaries = metrics.BoundaryF1()
        self.bins = metrics.DepthBinnedMetrics(self.edges)
        # Labels are scored where network and ground truth tell the same classes apart.
        names = truth.class_names
        self.labels = metrics.SegmentationMetrics(len(names)) if names and names == predictor.class_names else None
        self.shown: list[Scored] = []
        self._ratios: list[float] = []
        self._frames_with_nan = 0
        self._sizes: set[tuple[int, int]] = set()

    def run(self, console: Console) -> None:
        """Score every frame; a bar shows how far it is."""
        kept = set(evenly(self.truth.count, _SHEET_ROWS))
        with frame_progress(console) as progress:
            for index in progress.track(range(self.truth.count), description="scoring"):
                scored = self._score(index, self.truth.frames[index])
                if index in kept:
                    self.shown.append(scored)
        if not self.scores["images"].count:
            raise DataError(f"{self.truth.title}: expected a pixel with a true depth inside crop and range, got none")

    def report(self, console: Console) -> None:
        """Print the numbers under their protocol, and write both with the pictures."""
        facts = self.facts()
        try:
            self._write(facts)
        finally:
            # On a full disk, the numbers are not lost.
            self._print(facts, console)
        console.print(f"scores and figures are in {self.settings.output}", markup=False, soft_wrap=True)

    def _write(self, facts: dict[str, Any]) -> None:
        output, bins = self.settings.output, facts["bins"]
        output.mkdir(parents=True, exist_ok=True)
        write_json(output / _SCORES, _without_nan(facts))
        save_figure(draw_errors(self.shown), output / _ERRORS)
        if sum(bins["pixels"]):
            save_figure(plot_depth_bins(self.edges, bins["rmse"], bins["pixels"], label="RMSE"), output / _DEPTH_BINS)

    def _print(self, facts: dict[str, Any], console: Console) -> None:
        tables = [protocol_table(facts["protocol"]), score_table(facts, self.settings.pooling)]
        if facts["iou"]:
            tables.append(class_table(facts["iou"]))
        for table in (*tables, bin_table(self.edges, facts["bins"])):
            console.print(table)
        for warning in (self.nan_warning(), self.scale_warning()):
            if warning is not None:
                console.print(f"warning: {warning}", markup=False, soft_wrap=True)

    def facts(self) -> dict[str, Any]:
        """All that is known of the predictions, the headline under ``scores``."""
        per_image, per_pixel = (_numbers(self.scores[pooling].compute()) for pooling in ("images", "pixels"))
        # Of these there is one average only.
        per_image["boundary_f1"] = float(self.boundaries.compute())
        iou: dict[str, float] = {}
        if self.labels is not None and self.labels.confusion.any():
            labels = self.labels.compute()
            iou = dict(zip(self.truth.class_names, labels.pop("iou").tolist(), strict=True))
            per_pixel |= _numbers(labels)
        headline = per_image if self.settings.pooling == "images" else per_pixel
        bins = {name: values.tolist() for name, values in self.bins.compute().items()}
        return {
            "protocol": self.described(),
            "scores": {**per_image, **per_pixel, **headline},
            "per_image": per_image,
            "per_pixel": per_pixel,
            "median_ratio_to_ground_truth": self.median_ratio(),
            "frames_with_nan": self._frames_with_nan,
            "iou": iou,
            "bins": {"edges_m": list(self.edges), **bins},
        }

    def described(self) -> dict[str, Any]:
        """The protocol: all that the numbers depend on."""
        settings = self.settings
        size = getattr(self.predictor, "size", None)
        return {
            "predictions": str(settings.predictions or settings.checkpoint),
            "prediction_units_per_metre": settings.pred_scale if settings.predictions else None,
            "prediction_space": settings.pred_space,
            "network_sees": list(size) if size else None,
            # Another shape than the ground truth's is stretched to it, which no score says.
            "prediction_size": list(*self._sizes) if len(self._sizes) == 1 else "various",
            "flip_tta": settings.flip,
            "ground_truth": self.truth.title,
            "frames": self.truth.count,
            "crop": settings.crop,
            "min_depth_m": settings.min_depth,
            "max_depth_m": settings.max_depth,
            "pooling": settings.pooling,
            "alignment": "none" if settings.align is None else f"{settings.align} in {settings.align_space}",
            "resized_to": "ground truth, bilinear",
            "clamped_to_range": True,
            "depthattn": depthattn.__version__,
        }

    def median_ratio(self) -> float | None:
        """Prediction by ground truth, the median of the medians of the frames; None after alignment, which sets it."""
        return statistics.median(self._ratios) if self._ratios else None

    def nan_warning(self) -> str | None:
        """What to say where predictions are no numbers: the scores alone do not tell one such pixel from all."""
        frames = self._frames_with_nan
        if not frames:
            return None
        return (
            f"{frames} of {self.truth.count} frames have predictions that are NaN where they are scored; errors are "
            "empty (-), and accuracies count those pixels as wrong"
        )

    def scale_warning(self) -> str | None:
        """What to say where the unit of the predictions is plainly another one."""
        ratio = self.median_ratio()
        if ratio is None or 1 / _IMPLAUSIBLE <= ratio <= _IMPLAUSIBLE:
            return None
        advice = "--align median takes out a factor"
        if not 0 < ratio < math.inf:
            advice = "no factor would make it 1"
        elif self.settings.predictions is not None and self.settings.pred_space != "log":
            factor = ratio if self.settings.pred_space == "depth" else 1 / ratio
            advice = f"--pred-scale {self.settings.pred_scale * factor:.3g} would make it 1, {advice}"
        return f"predictions are {ratio:.3g} times the ground truth (median), an implausible scale; {advice}"

    def _score(self, index: int, frame: Sample) -> Scored:
        settings, target = self.settings, frame["depth"]
        size = (target.shape[-2], target.shape[-1])
        mask = self.protocol.mask(size)
        predicted = self.predictor(index, frame)
        self._sizes.add((predicted.values.shape[0], predicted.values.shape[1]))
        depth = self.protocol.depth(self.protocol.at_size(predicted.values, size), target, mask)
        if self.labels is not None:
            classes = interpolate(predicted.classes[None], size, mode="bilinear", align_corners=False)
            self.labels.update(classes, frame["labels"][None].where(mask, -100))
        counted = mask & (target > 0) & (target >= settings.min_depth) & (target <= settings.max_depth)
        known = counted & ~depth.isnan()
        self._frames_with_nan += int((counted != known).any())
        if settings.align is None and known.any():
            self._ratios.append(float((depth[known] / target[known]).median()))
        self.boundaries.update(depth, target, counted)
        # As the metrics do; the pictures show what is scored.
        depth = depth.clamp(settings.min_depth, settings.max_depth)
        for metric in (*self.scores.values(), self.bins):
            metric.update(depth, target, counted)
        return Scored(frame["image"], target, depth, counted, _rmse(depth, target, counted))


def _numbers(scores: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(score) for name, score in scores.items()}


def _rmse(pred: Tensor, target: Tensor, counted: Tensor) -> float:
    return float((pred - target)[counted].square().mean().sqrt())


def _without_nan(value: Any) -> Any:
    # JSON has no NaN.
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
