"""What the report measures: one pass over the training set, and one of the best weights over the validation set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.utils.data import Dataset, Subset

from depthattn import metrics
from depthattn.data import Sample
from depthattn.viz import DepthHistogram
from training.baselines import Baselines, TrainingStatistics, baselines, training_statistics
from training.batches import plain_loader
from training.settings import Settings
from training.sources import Source, evenly

# Images (B, 3, H, W) to depth in metres (B, 1, H, W) and classes (B, H, W), both on the CPU.
Predict = Callable[[Tensor], tuple[Tensor, Tensor]]
# Called with what is being done, how much of it is done, and how much there is.
Progress = Callable[[str, int, int], None]

BINS = 10
_TRAINING_FRAMES = 2000
# Of several processes the main one is alone here: the others would never answer.
_ALONE = {"sync_on_compute": False}


@dataclass(frozen=True)
class FrameScore:
    """Errors of one validation frame; NaN where it has no ground truth."""

    index: int
    rmse: float
    abs_rel: float
    right: float

    @property
    def error(self) -> float:
        """What frames are ranked by: the depth error in metres, or the share of wrong labels without true depth."""
        return self.rmse if math.isfinite(self.rmse) else 1.0 - self.right


@dataclass(frozen=True)
class Measured:
    """Everything the page shows that is not in the run folder.

    Args:
        histogram: depth of the training set.
        statistics: constant depth and class counts of the training set.
        baseline: scores of predictors that never look at the image.
        scores: of the best weights on the validation set, by name.
        edges: ends of the depth ranges in metres.
        bins: scores by name, and ``pixels``, for each range.
        constant_bins: RMSE of the best constant depth for each range, metres.
        confusion: pixels by true class and predicted class, (K, K).
        frames: errors of each validation frame.
    """

    histogram: DepthHistogram
    statistics: TrainingStatistics
    baseline: Baselines
    scores: dict[str, float]
    edges: list[float]
    bins: dict[str, list[float]]
    constant_bins: list[float]
    confusion: Tensor
    frames: list[FrameScore]

    @property
    def has_depth(self) -> bool:
        return math.isfinite(self.scores["rmse"])

    @property
    def has_labels(self) -> bool:
        return bool(self.confusion.sum() > 0)


def measure(source: Source, settings: Settings, predict: Predict, progress: Progress) -> Measured:
    """Look at at most 2000 training frames, evenly spaced, and at every validation frame."""
    histogram, statistics = _look_at_training(source, settings, progress)
    scorer = _Scorer(len(source.class_names), settings.max_depth, statistics.depth)

    def scored() -> Iterator[Sample]:
        for batch in _batches(source.validation, settings, "scoring the best weights", progress):
            scorer.add(batch, *predict(batch["image"]))
            yield batch

    baseline = baselines(statistics, scored(), settings.max_depth)
    return scorer.finish(histogram, statistics, baseline)


def _look_at_training(
    source: Source, settings: Settings, progress: Progress
) -> tuple[DepthHistogram, TrainingStatistics]:
    frames = Subset(source.train_plain, evenly(len(source.train_plain), _TRAINING_FRAMES))
    histograms: list[DepthHistogram] = []

    def counted() -> Iterator[Sample]:
        for batch in _batches(frames, settings, "looking at the training set", progress):
            histograms.append(DepthHistogram.of(batch["depth"], max_depth=settings.max_depth))
            yield batch

    statistics = training_statistics(counted(), len(source.class_names), settings.max_depth)
    return sum(histograms[1:], histograms[0]), statistics


def _batches(frames: Dataset[Sample], settings: Settings, title: str, progress: Progress) -> Iterator[Sample]:
    done = 0
    for batch in plain_loader(frames, settings):
        yield batch
        done += len(batch["image"])
        progress(title, done, len(frames))


@dataclass
class _Scorer:
    classes: int
    max_depth: float
    constant: float
    frames: list[FrameScore] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.edges = [self.max_depth * index / BINS for index in range(BINS + 1)]
        self._depth = metrics.DepthMetrics(max_depth=self.max_depth, **_ALONE)
        self._bins, self._constant_bins = (metrics.DepthBinnedMetrics(self.edges, **_ALONE) for _ in range(2))
        self._labels = metrics.SegmentationMetrics(max(self.classes, 1), **_ALONE)

    def add(self, batch: Sample, depth: Tensor, classes: Tensor) -> None:
        self._depth.update(depth, batch["depth"])
        self._bins.update(depth, batch["depth"])
        self._constant_bins.update(torch.full_like(batch["depth"], self.constant), batch["depth"])
        if self.classes:
            self._labels.update(classes, batch["labels"])
        for row in range(len(depth)):
            self.frames.append(self._frame(batch["depth"][row], depth[row], batch["labels"][row], classes[row]))

    def _frame(self, truth: Tensor, depth: Tensor, labels: Tensor, classes: Tensor) -> FrameScore:
        alone = metrics.DepthMetrics(max_depth=self.max_depth, **_ALONE)
        alone.update(depth, truth)
        scores = alone.compute() if alone.count > 0 else {"rmse": math.nan, "abs_rel": math.nan}
        named = labels >= 0
        right = float((classes == labels)[named].double().mean()) if named.any() else math.nan
        return FrameScore(len(self.frames), float(scores["rmse"]), float(scores["abs_rel"]), right)

    def finish(self, histogram: DepthHistogram, statistics: TrainingStatistics, baseline: Baselines) -> Measured:
        scores = _computed(self._depth, float(self._depth.count))
        scores |= _computed(self._labels, float(self._labels.confusion.sum()))
        bins = {name: values.tolist() for name, values in self._bins.compute().items()}
        constant = self._constant_bins.compute()["rmse"].tolist()
        return Measured(
            histogram,
            statistics,
            baseline,
            scores,
            self.edges,
            bins,
            constant,
            self._labels.confusion,
            self.frames,
        )


def _computed(metric: metrics.DepthMetrics | metrics.SegmentationMetrics, count: float) -> dict[str, float]:
    # torchmetrics warns of a metric that was never updated; without ground truth its scores are NaN all the same.
    if metric.update_count == 0 or count == 0:
        names = (
            ("rmse", "abs_rel", "delta1") if isinstance(metric, metrics.DepthMetrics) else ("miou", "pixel_accuracy")
        )
        return dict.fromkeys(names, math.nan)
    return {name: float(score) for name, score in metric.compute().items() if score.ndim == 0}


def ranked(frames: Sequence[FrameScore]) -> tuple[list[FrameScore], int]:
    """Frames with ground truth from the best to the worst, and the number of those that have none.

    Where some have true depth, those without are left out, as metres and shares of labels do not compare.
    """
    with_depth = [frame for frame in frames if math.isfinite(frame.rmse)]
    usable = with_depth or [frame for frame in frames if math.isfinite(frame.error)]
    return sorted(usable, key=lambda frame: frame.error), len(frames) - len(usable)


def extremes(frames: Sequence[FrameScore], most: int = 3) -> dict[str, list[FrameScore]]:
    """Up to ``most`` of the best, the median and the worst of frames sorted by error; none of them twice."""
    count = min(most, len(frames) // 3)
    if count == 0:
        return {"all": list(frames)} if frames else {}
    middle = (len(frames) - count) // 2
    return {
        "best": list(frames[:count]),
        "median": list(frames[middle : middle + count]),
        "worst": list(frames[-count:]),
    }
