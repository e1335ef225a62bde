"""The depth scores in use for NYU Depth and KITTI."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from depthattn.metrics.errors import SCORES, TERMS, check_range, counted, error_terms, scores_of
from depthattn.ops import checks

POOLINGS = ("pixels", "images")


class DepthMetrics(Metric):
    r"""Errors and accuracies of predicted depth, pooled over all valid pixels or averaged over images.

    Over the valid pixels of everything seen, or of each image, with prediction :math:`d` and truth :math:`g` in metres:

    ============ ====================================================================================
    ``rel``      mean of :math:`|d - g| / g`
    ``sq_rel``   mean of :math:`(d - g)^2 / g`, metres
    ``log10``    mean of :math:`|\log_{10} d - \log_{10} g|`
    ``rms``      root of the mean of :math:`(d - g)^2`, metres
    ``rms_log``  root of the mean of :math:`e^2`, with :math:`e = \ln d - \ln g`
    ``silog``    100 times the root of the mean of :math:`e^2` minus the squared mean of :math:`e`
    ``delta1``   share of pixels with :math:`\max(d/g, g/d) < 1.25`; ``delta2``, ``delta3``: :math:`1.25^2, 1.25^3`
    ============ ====================================================================================

    A pixel is valid if its true depth is finite, > 0 and within [min_depth, max_depth], and the mask allows it. The
    prediction is clamped to the same range first, as is usual; a NaN at a valid pixel makes the errors NaN and is not
    accurate. Sums are kept in float64; nothing waits for the device before ``compute``.

    Args:
        min_depth: smallest true depth that counts, metres, > 0.
        max_depth: largest true depth that counts, metres; 10 is usual for NYU, 80 for KITTI, None for no limit.
        pooling: ``"pixels"`` takes the means over the valid pixels of all images; ``"images"`` scores each image and
            takes the mean of the scores over the images with a valid pixel, as the benchmark of KITTI does. The two
            differ: say which.
        **kwargs: options of :class:`torchmetrics.Metric`.

    Returns:
        From ``compute``: the scores by name, float64 scalars; all NaN if no pixel was valid.

    Raises:
        ValueError: if the range, the pooling or the shapes do not fit.
        TypeError: if a map is not floating point or the mask not bool.

    Source:
        Eigen et al., "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NIPS 2014; silog as
        in the KITTI depth benchmark.

    Example:
        >>> import torch
        >>> from depthattn.metrics import DepthMetrics
        >>> metrics = DepthMetrics(max_depth=10.0)
        >>> metrics.update(torch.tensor([[1.0, 3.0]]), torch.tensor([[2.0, 3.0]]))
        >>> scores = metrics.compute()
        >>> float(scores["rel"]), float(scores["delta1"])
        (0.25, 0.5)
    """

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    sums: Tensor
    count: Tensor

    def __init__(
        self, min_depth: float = 1e-3, max_depth: float | None = 10.0, *, pooling: str = "pixels", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        check_range("DepthMetrics", min_depth, max_depth)
        checks.check_choice("DepthMetrics", "pooling", pooling, POOLINGS)
        self.pooling = pooling
        self.min_depth = min_depth
        self.max_depth = max_depth
        self.add_state("sums", torch.zeros(TERMS, dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> None:
        """Add a batch.

        Args:
            pred: predicted depth (B,1,H,W), (B,H,W) or (H,W), metres.
            target: true depth of the same size, metres; 0 where missing.
            mask: bool, True = use; None = all.
        """
        pred, target, mask = checks.depth_maps("DepthMetrics", pred.detach(), target.detach(), mask)
        valid = counted(target, mask, self.min_depth, self.max_depth)
        terms = error_terms(pred, target, valid, self.min_depth, self.max_depth)
        sums = torch.stack([term.flatten(1).sum(1, dtype=torch.float64) for term in terms], dim=1)
        pixels = valid.flatten(1).sum(1)
        if self.pooling == "pixels":
            self.sums += sums.sum(0)
            self.count += pixels.sum()
        else:
            seen = pixels > 0
            scores = torch.stack(list(scores_of(sums / pixels.unsqueeze(1)).values()), dim=1)
            self.sums += torch.where(seen.unsqueeze(1), scores, 0.0).sum(0)
            self.count += seen.sum()

    def compute(self) -> dict[str, Tensor]:
        means = self.sums / self.count
        return scores_of(means) if self.pooling == "pixels" else dict(zip(SCORES, means.unbind(), strict=True))


class ConstantDepthBaseline(Metric):
    """The one depth that, predicted for every pixel, has the smallest ``rms`` on what was seen: its mean.

    The score a model has to beat: find the constant on the training targets, then give it to :class:`DepthMetrics` as
    the prediction for the validation targets.

    Args:
        min_depth: smallest depth that counts, metres, > 0.
        max_depth: largest depth that counts, metres, or None for no limit.
        **kwargs: options of :class:`torchmetrics.Metric`.

    Returns:
        From ``compute``: the constant in metres, a float64 scalar; NaN if no pixel was valid.

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

    is_differentiable = False
    higher_is_better = None
    full_state_update = False

    total: Tensor
    count: Tensor

    def __init__(self, min_depth: float = 1e-3, max_depth: float | None = 10.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_range("ConstantDepthBaseline", min_depth, max_depth)
        self.min_depth = min_depth
        self.max_depth = max_depth
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, target: Tensor, mask: Tensor | None = None) -> None:
        """Add the true depth of a batch.

        Args:
            target: true depth (B,1,H,W), (B,H,W) or (H,W), metres; 0 where missing.
            mask: bool, True = use; None = all.
        """
        checks.check_float("ConstantDepthBaseline", "target", target)
        target = checks.as_maps("ConstantDepthBaseline", "target", target.detach())
        target, _, mask = checks.depth_maps("ConstantDepthBaseline", target, target, mask)
        valid = counted(target, mask, self.min_depth, self.max_depth)
        self.total += torch.where(valid, target, 0).sum(dtype=torch.float64)
        self.count += valid.sum()

    def compute(self) -> Tensor:
        return self.total / self.count
