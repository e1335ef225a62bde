"""The depth scores in use for NYU Depth and KITTI."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from depthattn.metrics.base import ScoreMetric
from depthattn.metrics.errors import (
    SCORES,
    SUMMED,
    check_range,
    error_terms,
    exact_term_sums,
    means_of_images,
    means_of_sums,
    scored_maps,
    scores_of,
)
from depthattn.metrics.exact import BINS, exact_sums, means, to_float32
from depthattn.ops import checks

POOLINGS = ("images", "pixels")


class DepthMetrics(ScoreMetric):
    r"""Errors and accuracies of predicted depth, with per-image or per-pixel averaging.

    Over the valid pixels of each image, or of everything seen, with prediction :math:`d` and ground truth :math:`g` in
    metres:

    ============ ============ ====================================================================================
    name         in papers    value
    ============ ============ ====================================================================================
    ``abs_rel``  AbsRel       mean of :math:`|d - g| / g`
    ``sq_rel``   SqRel        mean of :math:`(d - g)^2 / g`, metres
    ``rmse``     RMSE         root of the mean of :math:`(d - g)^2`, metres
    ``rmse_log`` RMSElog      root of the mean of :math:`e^2`, with :math:`e = \ln d - \ln g`
    ``log10``    log10        mean of :math:`|\log_{10} d - \log_{10} g|`
    ``silog``    SILog        100 times the root of the mean of :math:`e^2` minus the squared mean of :math:`e`
    ``mae``      MAE          mean of :math:`|d - g|`, metres
    ``irmse``    iRMSE        root of the mean of :math:`(1/d - 1/g)^2`, in 1/km as KITTI has it
    ``delta1``   delta1       share of pixels with :math:`\max(d/g, g/d) < 1.25`; ``delta05``, ``delta2`` and
                              ``delta3``: :math:`1.25^{0.5}, 1.25^2, 1.25^3`
    ============ ============ ====================================================================================

    A pixel is valid if its true depth is finite, > 0 and within [min_depth, max_depth], and the mask allows it. The
    prediction is clamped to the same range first. A prediction that is NaN at a valid pixel, or infinite where there is
    no limit, makes the errors NaN and counts as inaccurate.

    Sums are exact, so the scores do not depend on how frames are batched or spread over processes. The states are
    integers and the arithmetic is in float32 (float64 where an input is float64, and only there); nothing waits for the
    device before ``compute``.

    Args:
        min_depth: smallest true depth that counts, metres, > 0.
        max_depth: largest true depth that counts, metres; 10 is usual for NYU, 80 for KITTI, None for no limit.
        pooling: ``"images"`` scores each image and takes the mean of the scores over the images with a valid pixel, as
            BTS, AdaBins, ZoeDepth, Depth Anything and UniDepth do, and the benchmark of KITTI. ``"pixels"`` takes the
            means over the valid pixels of all images, as Eigen et al. and Laina et al. do. Report which one you used.
        **kwargs: options of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the range, the pooling or the shapes do not fit.
        TypeError: if a map is not floating point or the mask not bool.

    Source:
        Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NIPS 2014; SILog and
        iRMSE as in the KITTI depth benchmark.

    Example:
        >>> import torch
        >>> from depthattn.metrics import DepthMetrics
        >>> metrics = DepthMetrics(max_depth=10.0)
        >>> metrics.update(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 3.0]]))
        >>> scores = metrics.compute()
        >>> float(scores["abs_rel"]), float(scores["delta1"])
        (0.25, 0.5)
    """

    higher_is_better = None

    sums: Tensor
    count: Tensor

    def __init__(
        self, min_depth: float = 1e-3, max_depth: float | None = 10.0, *, pooling: str = "images", **kwargs: Any
    ) -> None:
        check_range("DepthMetrics", min_depth, max_depth)
        checks.check_choice("DepthMetrics", "pooling", pooling, POOLINGS)
        super().__init__(min_depth, max_depth, pooling, **kwargs)
        self.pooling = pooling
        self.min_depth = min_depth
        self.max_depth = max_depth
        rows = SCORES if pooling == "images" else SUMMED
        self.add_state("sums", torch.zeros(len(rows), BINS, dtype=torch.int64), dist_reduce_fx="sum")
        # Of images, or of pixels.
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            pred: predicted depth (B,1,H,W), (B,H,W) or (H,W), metres.
            target: true depth of the same size, metres; 0 where missing.
            mask: bool, True = use; None = all.
        """
        pred, target, valid = scored_maps("DepthMetrics", pred, target, mask, self.min_depth, self.max_depth)
        terms = error_terms(pred, target, valid, self.min_depth, self.max_depth)
        if self.pooling == "pixels":
            self.sums += exact_term_sums(terms)[0]
            self.count += valid.sum()
        else:
            seen = valid.flatten(1).any(1)
            scores = torch.stack(list(scores_of(means_of_images(terms, valid)).values()))
            rows = torch.arange(len(SCORES), device=scores.device).unsqueeze(1).expand_as(scores)
            self.sums += exact_sums(torch.where(seen, scores, 0.0), rows, len(SCORES))
            self.count += seen.sum()

    def compute(self) -> dict[str, Tensor]:
        """Compute the scores of everything seen.

        Returns:
            The scores by name, float32 scalars; all NaN if no pixel was valid.
        """
        if self.pooling == "pixels":
            scores = scores_of(means_of_sums(self.sums.unsqueeze(0), self.count.view(1)))
            return {name: score[0] for name, score in scores.items()}
        scores_by_row = to_float32(means(self.sums, self.count), self.sums.device)
        return dict(zip(SCORES, scores_by_row.unbind(), strict=True))


class ConstantDepthBaseline(ScoreMetric):
    """The mean depth: predicted for every pixel, it has the smallest RMSE of all constants.

    A model has to beat its score. Find the constant on the training targets, then pass it to :class:`DepthMetrics` as
    the prediction for the validation targets.

    Args:
        min_depth: smallest depth that counts, metres, > 0.
        max_depth: largest depth that counts, metres, or None for no limit.
        **kwargs: options of :class:`torchmetrics.Metric`.

    Raises:
        ValueError: if the range or the shapes do not fit.
        TypeError: if the target is not floating point or the mask not bool.

    Example:
        >>> import torch
        >>> from depthattn.metrics import ConstantDepthBaseline
        >>> baseline = ConstantDepthBaseline()
        >>> for target in (torch.tensor([[1.0, 0.0]]), torch.tensor([[2.0, 6.0]])):
        ...     baseline.update(target)
        >>> float(baseline.compute())
        3.0
    """

    higher_is_better = None

    total: Tensor
    count: Tensor

    def __init__(self, min_depth: float = 1e-3, max_depth: float | None = 10.0, **kwargs: Any) -> None:
        check_range("ConstantDepthBaseline", min_depth, max_depth)
        super().__init__(min_depth, max_depth, **kwargs)
        self.min_depth = min_depth
        self.max_depth = max_depth
        self.add_state("total", torch.zeros(1, BINS, dtype=torch.int64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, target: Tensor, mask: Tensor | None = None) -> None:
        """Add the true depth of a batch.

        Args:
            target: true depth (B,1,H,W), (B,H,W) or (H,W), metres; 0 where missing.
            mask: bool, True = use; None = all.
        """
        checks.check_float("ConstantDepthBaseline", "target", target)
        target = checks.as_maps(
            "ConstantDepthBaseline", "target", checks.detached("ConstantDepthBaseline", "target", target)
        )
        target, _, valid = scored_maps("ConstantDepthBaseline", target, target, mask, self.min_depth, self.max_depth)
        self.total += exact_sums(torch.where(valid, target, 0.0))
        self.count += valid.sum()

    def compute(self) -> Tensor:
        """Compute the mean of everything seen.

        Returns:
            The constant in metres, a float32 scalar; NaN if no pixel was valid.
        """
        return to_float32(means(self.total, self.count), self.total.device)[0]
