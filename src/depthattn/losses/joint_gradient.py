"""The joint gradient loss as a module."""

from __future__ import annotations

from torch import Tensor, nn

from depthattn.functional import joint_gradient_loss
from depthattn.ops import checks


class JointGradientLoss(nn.Module):
    r"""Joint gradient loss: the options of :func:`depthattn.functional.joint_gradient_loss`, kept.

    .. math::

        L_{JG} = L_g(d, g) + w\, L_g(d, s), \qquad L_g(a, b) = \frac{1}{N} \sum_i |S_h (a - b)|_i + |S_v (a - b)|_i

    with the Sobel kernels :math:`S_h` and :math:`S_v`; the function says which windows count.

    Args:
        semantic_weight: weight of the semantic term.
        ignore_index: the label that stands for no class.
        upsample: ``"bilinear"`` resizes a prediction of another size to the target's.
        align_corners: of that resizing, as in :func:`torch.nn.functional.interpolate`.
        reduction: ``"mean"``, ``"per_image"``, ``"sum"`` or ``"none"``.

    Shape:
        ``pred`` and ``target`` (B,1,H,W), (B,H,W) or (H,W) in metres, ``mask`` the same in bool; by keyword either
        ``labels``, integer class ids, or ``semantics``, a float map. The result is a scalar, (B,) or (B,H,W), as the
        reduction says.

    Raises:
        ValueError: if an option value, a shape or a device does not fit.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``pred``, and to a float ``semantics`` that requires one; the function says more.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018.

    Example:
        >>> import torch
        >>> from depthattn import JointGradientLoss
        >>> loss = JointGradientLoss(semantic_weight=0.5)
        >>> flat, room = torch.full((1, 1, 8, 8), 2.0), torch.zeros(1, 8, 8, dtype=torch.long)
        >>> float(loss(flat, flat + 1.0, labels=room))  # a constant offset has no gradient to complain about
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
        checks.check_upsample(name, upsample, align_corners)
        self.semantic_weight = options.semantic_weight
        self.ignore_index = options.ignore_index
        self.upsample = upsample
        self.align_corners = align_corners
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
