"""From a checkpoint or predictions on the command line to scores, their protocol and pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from rich.console import Console
from torch import Tensor
from torch.nn.functional import interpolate

import depthattn
from depthattn.data import DataError, Sample
from depthattn.metrics import DepthBinnedMetrics, DepthMetrics, SegmentationMetrics, align_depth, crop_mask
from depthattn.viz import plot_depth_bins
from evaluation.pictures import Scored, draw_errors
from evaluation.predictors import Predictor, open_predictor
from evaluation.settings import PROGRAM, Settings, parse
from evaluation.tables import bin_table, protocol_table, score_table
from evaluation.truth import Truth, open_truth
from scripting.console import exit_status, frame_progress, new_console
from training.checkpoint import write_json
from training.sources import evenly

_BINS, _SHEET_ROWS = 10, 4


def main(argv: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says; returns the exit status."""
    settings = parse(argv)
    return exit_status(PROGRAM, lambda: _evaluate(settings, new_console()), "nothing is written")


def _evaluate(settings: Settings, console: Console) -> None:
    truth = open_truth(settings)
    predictor = open_predictor(settings, len(truth.frames))
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
        self.edges = settings.edges or tuple(settings.max_depth * part / _BINS for part in range(_BINS + 1))
        self.scores = DepthMetrics(settings.min_depth, settings.max_depth, pooling=settings.pooling)
        self.bins = DepthBinnedMetrics(self.edges)
        # Labels are scored where network and truth tell the same classes apart.
        names = truth.class_names
        self.labels = SegmentationMetrics(len(names)) if names and names == predictor.class_names else None
        self.shown: list[Scored] = []

    def run(self, console: Console) -> None:
        """Score every frame; a bar shows how far it is."""
        count = len(self.truth.frames)
        kept = set(evenly(count, _SHEET_ROWS))
        with frame_progress(console) as progress:
            for index in progress.track(range(count), description="scoring"):
                scored = self._score(index, self.truth.frames[index])
                if index in kept:
                    self.shown.append(scored)
        if not self.bins.pixels.any() and not self.scores.count:
            raise DataError(f"{self.truth.title}: expected a pixel with a true depth inside crop and range, got none")

    def report(self, console: Console) -> None:
        """Print the numbers under their protocol, and write both with the pictures."""
        protocol, output = self.protocol(), self.settings.output
        scores = {name: float(value) for name, value in self.scores.compute().items()}
        bins = {name: values.tolist() for name, values in self.bins.compute().items()}
        output.mkdir(parents=True, exist_ok=True)
        if self.labels is not None and self.labels.confusion.any():
            scores |= {name: float(value) for name, value in self.labels.compute().items() if value.ndim == 0}
        facts = {"scores": scores, "bins": {"edges_m": list(self.edges), **bins}}
        write_json(output / "scores.json", {"protocol": protocol, **_without_nan(facts)})
        draw_errors(self.shown, output / "errors.png", max_depth=self.settings.max_depth)
        if sum(bins["pixels"]):
            plot_depth_bins(self.edges, bins["rmse"], bins["pixels"], label="RMSE").savefig(output / "bins.png")
        for table in (protocol_table(protocol), score_table(scores), bin_table(self.edges, bins)):
            console.print(table)
        console.print(f"scores and pictures are in {output}", markup=False, soft_wrap=True)

    def protocol(self) -> dict[str, Any]:
        """All that the numbers depend on."""
        settings = self.settings
        size = getattr(self.predictor, "size", None)
        return {
            "predictions": str(settings.predictions or settings.checkpoint),
            "prediction_units_in_a_metre": settings.pred_scale if settings.predictions else None,
            "network_sees": list(size) if size else None,
            "flip_averaging": settings.flip,
            "truth": self.truth.title,
            "frames": len(self.truth.frames),
            "crop": "none" if settings.crop is None else ",".join(f"{low}:{high}" for low, high in settings.crop),
            "min_depth_m": settings.min_depth,
            "max_depth_m": settings.max_depth,
            "pooling": settings.pooling,
            "alignment": settings.align or "none",
            "resized_to": "the truth's size, bilinear",
            "clamped_to_range": True,
            "depthattn": depthattn.__version__,
        }

    def _score(self, index: int, frame: Sample) -> Scored:
        settings, target = self.settings, frame["depth"]
        size = (target.shape[-2], target.shape[-1])
        predicted = self.predictor(index, frame)
        pred = interpolate(predicted.depth[None, None], size, mode="bilinear", align_corners=False)[0]
        mask = torch.ones(size, dtype=torch.bool) if settings.crop is None else crop_mask(size, settings.crop)
        mask = mask.unsqueeze(0)
        if settings.align is not None:
            pred = align_depth(
                pred, target, mask, method=settings.align, min_depth=settings.min_depth, max_depth=settings.max_depth
            ).float()
        # As the metrics do; the pictures show what is scored.
        pred = pred.clamp(settings.min_depth, settings.max_depth)
        if self.labels is not None:
            classes = interpolate(predicted.classes[None], size, mode="bilinear", align_corners=False)
            self.labels.update(classes, frame["labels"][None].where(mask, -100))
        self.scores.update(pred, target, mask)
        inside = (target >= settings.min_depth) & (target <= settings.max_depth)
        self.bins.update(pred, target, mask & inside)
        return Scored(frame["image"], target, pred, mask & inside & (target > 0), _rms(pred, target, mask & inside))


def _rms(pred: Tensor, target: Tensor, valid: Tensor) -> float:
    return float((pred - target)[valid].square().mean().sqrt())


def _without_nan(value: Any) -> Any:
    # JSON has no NaN.
    if isinstance(value, dict):
        return {name: _without_nan(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
