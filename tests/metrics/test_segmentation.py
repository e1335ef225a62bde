"""Segmentation scores against NumPy and torchmetrics' own confusion matrix."""

from __future__ import annotations

import copy
import pickle
import sys
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix

import depthattn
from depthattn.metrics import SegmentationMetrics


def oracle(pred: np.ndarray, target: np.ndarray, num_classes: int, ignore_index: int = -100) -> dict[str, Any]:
    """Class by class over the labelled pixels."""
    keep = target != ignore_index
    p, t = pred[keep], target[keep]
    recalls, ious = [], []
    for k in range(num_classes):
        hits = np.sum((p == k) & (t == k))
        if np.any(t == k):
            recalls.append(hits / np.sum(t == k))
        either = np.sum((p == k) | (t == k))
        ious.append(hits / either if either else np.nan)
    return {
        "pixel_accuracy": np.mean(p == t),
        "mean_accuracy": np.mean(recalls),
        "miou": np.nanmean(ious),
        "iou": ious,
    }


def frames(count: int, num_classes: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    rng = np.random.default_rng(seed)
    # The last two classes never occur in truth, the very last not in the prediction either.
    target = rng.integers(0, num_classes - 2, (count, 9, 13))
    wrong = rng.random(target.shape) < 0.4
    pred = np.where(wrong, rng.integers(0, num_classes - 1, target.shape), target)
    target[rng.random(target.shape) < 0.3] = -100
    return torch.from_numpy(pred), torch.from_numpy(target)


def check(scores: dict[str, Tensor], expected: dict[str, Any]) -> None:
    assert list(scores) == ["pixel_accuracy", "mean_accuracy", "miou", "iou"]
    for name, value in expected.items():
        assert scores[name].dtype == torch.float32
        np.testing.assert_allclose(scores[name].numpy(), value, rtol=2e-7, err_msg=name)


def test_classes_and_empty_frames_pool_over_pixels() -> None:
    pred, target = frames(5, 7)
    target[3] = -100
    metrics = SegmentationMetrics(7)
    for part in (slice(0, 1), slice(1, 3), slice(3, 5)):
        metrics.update(pred[part], target[part])
    check(metrics.compute(), oracle(pred.numpy(), target.numpy(), 7))


def test_confusion_is_that_of_torchmetrics() -> None:
    pred, target = frames(4, 7, seed=1)
    metrics, peer = SegmentationMetrics(7), MulticlassConfusionMatrix(7, ignore_index=-100)
    metrics.update(pred, target)
    assert torch.equal(metrics.confusion, peer(pred, target))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_logits_count_by_their_largest(dtype: torch.dtype) -> None:
    _, target = frames(3, 7, seed=2)
    logits = torch.randn(3, 7, 9, 13).to(dtype)
    metrics = SegmentationMetrics(7)
    metrics.update(logits, target)
    check(metrics.compute(), oracle(logits.double().numpy().argmax(1), target.numpy(), 7))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_other_integers(dtype: torch.dtype) -> None:
    pred, target = frames(2, 5, seed=3)
    target[target == -100] = 255
    metrics = SegmentationMetrics(5, ignore_index=255)
    metrics.update(pred.to(dtype), target.to(dtype))
    check(metrics.compute(), oracle(pred.numpy(), target.numpy(), 5, ignore_index=255))


@pytest.mark.parametrize("batch", [1, 2])
def test_label_images_may_have_a_channel(batch: int) -> None:
    logits = torch.rand(batch, 5, 6, 7)
    target = torch.randint(5, (batch, 6, 7))
    for pred in (logits, logits.argmax(1)):
        metrics = SegmentationMetrics(5)
        metrics.update(pred, target[:, None])
        check(metrics.compute(), oracle(logits.numpy().argmax(1), target.numpy(), 5))


def test_ignore_index_may_be_a_class() -> None:
    pred = torch.tensor([[0, 1, 2, 0]])
    target = torch.tensor([[0, 1, 1, 2]])
    metrics = SegmentationMetrics(3, ignore_index=0)
    metrics.update(pred, target)
    # Pixels left: truth 1, 1, 2, predicted 1, 2, 0.
    check(metrics.compute(), {"pixel_accuracy": 1 / 3, "mean_accuracy": (0.5 + 0.0) / 2, "miou": (0 + 0.5 + 0) / 3})


def test_absent_classes_do_not_count() -> None:
    metrics = SegmentationMetrics(40)
    metrics.update(torch.tensor([[3, 3, 5, 5]]), torch.tensor([[3, 3, 5, -100]]))
    check(metrics.compute(), {"pixel_accuracy": 1.0, "mean_accuracy": 1.0, "miou": 1.0})
    # Predicted but absent from truth: an IoU of zero, and no recall.
    metrics.update(torch.tensor([[7]]), torch.tensor([[5]]))
    check(metrics.compute(), {"pixel_accuracy": 0.75, "mean_accuracy": 0.75, "miou": (1.0 + 0.5 + 0.0) / 3})
    assert metrics.compute()["iou"][torch.tensor([3, 5, 7])].tolist() == [1.0, 0.5, 0.0]
    assert int(metrics.compute()["iou"].isnan().sum()) == 37


def test_nothing_seen_is_nan() -> None:
    metrics = SegmentationMetrics(4)
    metrics.update(torch.zeros(1, 2, 2, dtype=torch.int64), torch.full((1, 2, 2), -100))
    assert all(bool(score.isnan().all()) for score in metrics.compute().values())


def test_counts_are_exact_and_reduce_by_their_sum() -> None:
    metrics = SegmentationMetrics(3)
    metrics.update(torch.tensor([[1, 2]]), torch.tensor([[1, 1]]))
    metrics.confusion += 2**53
    metrics.update(torch.tensor([[1]]), torch.tensor([[1]]))
    assert int(metrics.confusion[1, 1]) == 2**53 + 2
    reduce = metrics._reductions["confusion"]
    assert torch.equal(reduce(torch.stack((metrics.confusion, metrics.confusion))), 2 * metrics.confusion)


def test_as_a_torchmetrics_metric() -> None:
    pred, target = frames(2, 6, seed=4)
    metrics = SegmentationMetrics(6)
    check(metrics(pred, target), oracle(pred.numpy(), target.numpy(), 6))
    for other in (copy.deepcopy(metrics), pickle.loads(pickle.dumps(metrics))):
        check(other.compute(), oracle(pred.numpy(), target.numpy(), 6))
    metrics.reset()
    assert int(metrics.confusion.sum()) == 0


@pytest.mark.parametrize("stray", [7, -1, 40])
def test_labels_out_of_range(stray: int) -> None:
    metrics = SegmentationMetrics(7)
    target = torch.tensor([[0, stray, -100]])
    with pytest.raises(ValueError, match=rf"SegmentationMetrics: expected target in \[0, 7\) or -100, got {stray}$"):
        metrics.update(torch.tensor([[0, 1, 2]]), target)
    with pytest.raises(ValueError, match=rf"SegmentationMetrics: expected pred in \[0, 7\), got {stray}$"):
        metrics.update(target, torch.tensor([[0, 1, -100]]))
    assert int(metrics.confusion.sum()) == 0
    # Where the truth is not known, the prediction does not matter.
    metrics.update(target, torch.tensor([[0, -100, -100]]))
    assert int(metrics.confusion.sum()) == 1


def test_stray_labels_are_left_out_where_values_are_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator: never an address, never a count."""
    monkeypatch.setattr("depthattn.metrics.segmentation.validates", lambda device: False)
    metrics = SegmentationMetrics(3)
    metrics.update(torch.tensor([[0, 1, 2, 9, -4]]), torch.tensor([[0, 50, -7, 1, 2]]))
    assert metrics.confusion.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("pred", "target", "error", "reason"),
    [
        (torch.rand(1, 4, 2, 2), torch.zeros(1, 2, 2).long(), ValueError, r"logits \(1, 3, 2, 2\) or integer classes"),
        (torch.rand(1, 3, 1, 1), torch.zeros(1, 2, 2).long(), ValueError, r"got torch.float32 \(1, 3, 1, 1\)"),
        (torch.rand(1, 2, 2), torch.zeros(1, 2, 2).long(), ValueError, r"got torch.float32 \(1, 2, 2\)"),
        (torch.zeros(1, 2).long(), torch.zeros(1, 2, 2).long(), ValueError, r"got torch.int64 \(1, 2\)"),
        (torch.rand(1, 3, 2, 2), torch.zeros(1, 2, 2), TypeError, "expected target as integer class ids"),
    ],
)
def test_shapes_and_dtypes_that_do_not_fit(pred: Tensor, target: Tensor, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=f"SegmentationMetrics: .*{reason}"):
        SegmentationMetrics(3).update(pred, target)


def test_without_torchmetrics_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(depthattn.metrics, "SegmentationMetrics")
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    with pytest.raises(ImportError, match=r'SegmentationMetrics needs torchmetrics: pip install "\.\[train\]"'):
        _ = depthattn.metrics.SegmentationMetrics
