"""Semantic segmentation scores from a confusion matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from depthattn.metrics.base import ScoreMetric
from depthattn.metrics.exact import sum_by_index, to_float32
from depthattn.ops import checks
from depthattn.ops.validation import validates


class SegmentationMetrics(ScoreMetric):
    r"""Pixel accuracy, mean accuracy, mIoU and the IoU of each class, with per-pixel averaging.

    With :math:`n_{ij}` the number of pixels of class i predicted as j, :math:`t_i = \sum_j n_{ij}` and
    :math:`p_i = \sum_j n_{ji}`:

    ================== ===============================================================================
    ``pixel_accuracy`` :math:`\sum_i n_{ii} / \sum_i t_i`
    ``mean_accuracy``  mean of :math:`n_{ii} / t_i` over the classes with :math:`t_i > 0`
    ``miou``           mean of ``iou`` over the classes in ground truth or prediction
    ``iou``            :math:`n_{ii} / (t_i + p_i - n_{ii})` of each class, (K,); NaN for one in neither
    ================== ===============================================================================

    Counts are exact integers. Nothing waits for the device before ``compute``.

    Args:
        num_classes: number K of classes.
        ignore_index: label of pixels that do not count.
        **kwargs: options of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if shapes do not fit; if a label is neither in [0, K) nor ``ignore_index``, or a predicted class
            not in [0, K). On an accelerator such pixels are left out, or raise under ``set_validation(True)``.
        TypeError: if the target is not an integer tensor.

    Source:
        Long et al., "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.

    Example:
        >>> import torch
        >>> from depthattn.metrics import SegmentationMetrics
        >>> metrics = SegmentationMetrics(num_classes=3)
        >>> metrics.update(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 0, 0, -100]]))
        >>> scores = metrics.compute()
        >>> round(float(scores["miou"]), 4), scores["iou"]
        (0.3333, tensor([0.6667, 0.0000,    nan]))
    """

    higher_is_better = True

    confusion: Tensor

    def __init__(self, num_classes: int, ignore_index: int = -100, **kwargs: Any) -> None:
        checks.check_index("SegmentationMetrics", "num_classes", num_classes)
        checks.check_number("SegmentationMetrics", "num_classes", num_classes, at_least=1)
        checks.check_index("SegmentationMetrics", "ignore_index", ignore_index)
        super().__init__(num_classes, ignore_index, **kwargs)
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.add_state("confusion", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor) -> None:
        """Add a batch.

        Args:
            pred: logits (B,K,...) or predicted classes (B,...), integer.
            target: true classes (B,...) or (B,1,H,W), integer.
        """
        checks.check_tensor("SegmentationMetrics", "pred", pred)
        checks.check_integer("SegmentationMetrics", "target", target)
        checks.check_device("SegmentationMetrics", "target", target, pred.device)
        if target.ndim == 4 and target.shape[1] == 1 and pred.ndim == (4 if pred.is_floating_point() else 3):
            target = target.squeeze(1)
        classes = self._classes(pred.detach(), target).flatten().long()
        target = target.flatten().long()
        counted = (target != self.ignore_index) & (target >= 0) & (target < self.num_classes)
        named = (classes >= 0) & (classes < self.num_classes)
        if validates(target.device):
            self._check_values("target", target, counted | (target == self.ignore_index))
            self._check_values("pred", classes, named | ~counted)
        # What does not count adds 0 to the first cell: no data-dependent shape, no stray address.
        used = counted & named
        cell = torch.where(used, target * self.num_classes + classes, 0)
        self.confusion += sum_by_index(used.int(), cell, self.num_classes**2).view_as(self.confusion)

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores of everything seen.

        Returns:
            The scores by name, float32, scalars but for ``iou``; all NaN if no pixel was labelled.
        """
        confusion = self.confusion.cpu().numpy()
        hits, truth, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
        # 0 / 0 is NaN: a class that is absent leaves the mean.
        with np.errstate(invalid="ignore"):
            shares = (hits.sum() / truth.sum(), hits / truth, hits / (truth + predicted - hits))
        pixel_accuracy, accuracy, iou = (to_float32(np.asarray(share), self.confusion.device) for share in shares)
        return {
            "pixel_accuracy": pixel_accuracy,
            "mean_accuracy": accuracy.nanmean(),
            "miou": iou.nanmean(),
            "iou": iou,
        }

    def _classes(self, pred: Tensor, target: Tensor) -> Tensor:
        logits_shape = (*target.shape[:1], self.num_classes, *target.shape[1:])
        if pred.is_floating_point() and tuple(pred.shape) == logits_shape:
            return pred.argmax(1)
        if not pred.is_floating_point() and pred.shape == target.shape:
            return pred
        raise ValueError(
            f"SegmentationMetrics: expected pred as logits {logits_shape} or integer classes {tuple(target.shape)}, "
            f"got {pred.dtype} {tuple(pred.shape)}"
        )

    def _check_values(self, name: str, values: Tensor, legal: Tensor) -> None:
        if not bool(legal.all()):
            stray = int(values[~legal][0])
            besides = f" or {self.ignore_index}" if name == "target" else ""
            raise ValueError(f"SegmentationMetrics: expected {name} in [0, {self.num_classes}){besides}, got {stray}")
