"""The joint gradient loss as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from depthattn.functional import joint_gradient_loss
from depthattn.ops import checks

# torch.fx cannot follow the conditions on shapes and dtypes in it; it is one step of a graph that it draws.
torch.fx.wrap("joint_gradient_loss")


class JointGradientLoss(nn.Module):
    r"""Joint gradient loss: compares Sobel gradients of predicted and true depth, and asks for flat regions.

    .. math::

        L_{JG} = L_g(d, g) + w\, L_g(d, s), \qquad L_g(a, b) = \frac{1}{N} \sum_i |S_h (a - b)|_i + |S_v (a - b)|_i

    for predicted depth :math:`d`, true depth :math:`g` and semantic map :math:`s`, with the Sobel kernels :math:`S_h`
    and :math:`S_v`. The function :func:`depthattn.functional.joint_gradient_loss` says which windows count. The kernels
    are not normalised: beside a depth-aware loss of weight 1, start with a weight of 0.05.

    Args:
        semantic_weight: the weight w of the semantic term. With integer labels, 0 gave better edges than 1 on NYU Depth
            v2 (page "Evidence").
        ignore_index: the label that stands for no class.
        upsample: ``"bilinear"`` resizes a prediction of another size to the size of the target; None expects one size.
        align_corners: passed to that resizing, as in :func:`torch.nn.functional.interpolate`.
        reduction: ``"mean"``, ``"per_image"``, ``"sum"`` or ``"none"``.

    Shape:
        ``pred`` and ``target`` (B,1,H,W), (B,H,W) or (H,W) in metres, ``mask`` the same in bool, True = use; by keyword
        either ``labels``, integer class ids, or ``semantics``, a float map. Returns a scalar, (B,) for
        ``"per_image"``, (B,H,W) for ``"none"``.

    Raises:
        ValueError: if an option value, a shape or a device does not fit.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``pred``, and to a float ``semantics`` that requires one. The function has the edge cases.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018.

    Example:
        >>> import torch
        >>> from depthattn import JointGradientLoss
        >>> loss = JointGradientLoss(semantic_weight=0.5)
        >>> depth = torch.full((1, 1, 8, 8), 2.0)
        >>> labels = torch.zeros(1, 8, 8, dtype=torch.long)
        >>> float(loss(depth, depth + 1.0, labels=labels))  # an offset has no gradient
        0.0
    """

    def __init__(
        self,
        *,
        semantic_weight: float = 1.0,
        ignore_index: int = -100,
        upsample: str | None = None,
        align_corners: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        options = checks.joint_gradient_options(name, semantic_weight, ignore_index, reduction)
        self.upsample, self.align_corners = checks.upsample_options(name, upsample, align_corners)
        self.semantic_weight = options.semantic_weight
        self.ignore_index = options.ignore_index
        self.reduction = options.reduction

    def forward(
        self,
        pred: Tensor,
        target: Tensor,
        mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        semantics: Tensor | None = None,
    ) -> Tensor:
        """Compute the loss.

        Args:
            pred: predicted depth in metres, (B,1,H,W), (B,H,W) or (H,W).
            target: true depth in metres, of the same size; 0, negative, NaN or inf marks a missing pixel.
            mask: bool, of the size of ``target``, True = use the pixel; None uses every valid one.
            labels: integer class ids (B,H,W) or (B,1,H,W), compared inside one class; at most one of ``labels`` and
                ``semantics``. Without both there is no semantic term.
            semantics: a float map (B,H,W) or (B,1,H,W), taken literally.

        Returns:
            A scalar, or a tensor (B,) or (B,H,W) by ``reduction``; float32, or float64 where an input is float64.
        """
        return joint_gradient_loss(
            pred,
            target,
            mask,
            labels=labels,
            semantics=semantics,
            semantic_weight=self.semantic_weight,
            ignore_index=self.ignore_index,
            upsample=self.upsample,
            align_corners=self.align_corners,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return (
            f"semantic_weight={self.semantic_weight:g}, ignore_index={self.ignore_index}, "
            f"upsample={self.upsample!r}, align_corners={self.align_corners}, reduction={self.reduction!r}"
        )
