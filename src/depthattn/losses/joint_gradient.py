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
        reduction: ``"mean"``, ``"per_image"``, ``"sum"`` or ``"none"``.

    Shape:
        ``pred`` and ``target`` (B,1,H,W), (B,H,W) or (H,W) in metres, ``semantics`` the same as integer labels or as a
        float map, ``mask`` the same in bool. The result is a scalar, (B,) or (B,H,W), as the reduction says.

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
        >>> float(loss(flat, flat + 1.0, room))  # a constant offset has no gradient to complain about
        0.0
    """

    def __init__(
        self,
        *,
        semantic_weight: float = 1.0,
        ignore_index: int = -100,
        upsample: str | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        checks.joint_gradient_options(type(self).__name__, semantic_weight, ignore_index, upsample)
        checks.check_reduction(type(self).__name__, reduction)
        self.semantic_weight = semantic_weight
        self.ignore_index = ignore_index
        self.upsample = upsample
        self.reduction = reduction

    def forward(
        self, pred: Tensor, target: Tensor, semantics: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        return joint_gradient_loss(
            pred,
            target,
            semantics,
            mask=mask,
            semantic_weight=self.semantic_weight,
            ignore_index=self.ignore_index,
            upsample=self.upsample,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        return (
            f"semantic_weight={self.semantic_weight:g}, ignore_index={self.ignore_index}, "
            f"upsample={self.upsample!r}, reduction={self.reduction!r}"
        )
