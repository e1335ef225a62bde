"""The depth-aware loss as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from depthattn.functional import depth_aware_loss
from depthattn.ops import checks

# torch.fx cannot follow the conditions on shapes and dtypes in it; it is one step of a graph that it draws.
torch.fx.wrap("depth_aware_loss")


class DepthAwareLoss(nn.Module):
    r"""Depth-aware loss: errors weigh more where the true depth is large or the prediction is wrong.

    .. math:: L_{DA} = \frac{1}{N} \sum_i (\alpha_i + \lambda_i)\, l(d_i, g_i)

    :math:`\alpha_i` grows with the true depth of the pixel, :math:`\lambda_i` with the error of the prediction, and
    :math:`l` is the distance between prediction :math:`d` and ground truth :math:`g`. The function
    :func:`depthattn.functional.depth_aware_loss` has their formulas.

    Args:
        distance: ``"smooth_l1"``, ``"l1"``, ``"l2"`` or ``"berhu"``.
        beta: error in metres where smooth L1 turns from quadratic to linear; only used by ``"smooth_l1"``.
        max_depth: depth in metres where alpha reaches 1: 10 for NYU, 80 for KITTI; None takes the largest valid target
            of each image.
        log_offset: metres added to both depths inside the logarithms of lambda; 0 is the formula as published, clamped
            to [0, 1].
        detach_weight: stop the gradient through lambda.
        upsample: ``"bilinear"`` resizes a prediction of another size to the size of the target; None expects one size.
        align_corners: passed to that resizing, as in :func:`torch.nn.functional.interpolate`.
        reduction: ``"mean"``, ``"per_image"``, ``"sum"`` or ``"none"``.

    Shape:
        ``pred`` and ``target`` (B,1,H,W), (B,H,W) or (H,W) in metres, ``mask`` the same in bool, True = use. Returns
        a scalar, (B,) for ``"per_image"``, (B,H,W) for ``"none"``.

    Raises:
        ValueError: if an option value, a shape or a device does not fit.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``pred`` only, exactly zero at pixels that do not count. The function has the formulas and the edge cases.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018.

    Example:
        >>> import torch
        >>> from depthattn import DepthAwareLoss
        >>> loss = DepthAwareLoss(max_depth=10.0)
        >>> depth = torch.full((2, 1, 4, 4), 3.0, requires_grad=True)
        >>> target = torch.full((2, 1, 4, 4), 5.0)
        >>> target[0] = 0.0  # an image without any depth
        >>> value = loss(depth, target)
        >>> value.backward()
        >>> float(depth.grad[0].abs().max())
        0.0
    """

    def __init__(
        self,
        *,
        distance: str = "smooth_l1",
        beta: float = 1.0,
        max_depth: float | None = None,
        log_offset: float = 1.0,
        detach_weight: bool = False,
        upsample: str | None = None,
        align_corners: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        options = checks.depth_aware_options(name, distance, beta, max_depth, log_offset, detach_weight, reduction)
        self.upsample, self.align_corners = checks.upsample_options(name, upsample, align_corners)
        self.distance = options.distance
        self.beta = options.beta
        self.max_depth = options.max_depth
        self.log_offset = options.log_offset
        self.detach_weight = options.detach_weight
        self.reduction = options.reduction

    def forward(self, pred: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compute the loss.

        Args:
            pred: predicted depth in metres, (B,1,H,W), (B,H,W) or (H,W).
            target: true depth in metres, of the same size; 0, negative, NaN or inf marks a missing pixel.
            mask: bool, of the size of ``target``, True = use the pixel; None uses every valid one.

        Returns:
            A scalar, or a tensor (B,) or (B,H,W) by ``reduction``; float32, or float64 where an input is float64.
        """
        return depth_aware_loss(
            pred,
            target,
            mask,
            distance=self.distance,
            beta=self.beta,
            max_depth=self.max_depth,
            log_offset=self.log_offset,
            detach_weight=self.detach_weight,
            upsample=self.upsample,
            align_corners=self.align_corners,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return (
            f"distance={self.distance!r}, beta={self.beta:g}, max_depth={self.max_depth}, "
            f"log_offset={self.log_offset:g}, detach_weight={self.detach_weight}, upsample={self.upsample!r}, "
            f"align_corners={self.align_corners}, reduction={self.reduction!r}"
        )
