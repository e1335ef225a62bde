"""The semantic focal loss as a module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from depthattn.functional import semantic_focal_loss
from depthattn.ops import checks

# torch.fx cannot follow the conditions on shapes and dtypes in it; it is one step of a graph that it draws.
torch.fx.wrap("semantic_focal_loss")


class SemanticFocalLoss(nn.Module):
    r"""Semantic focal loss: cross entropy in which pixels that are already right weigh less, with class weights.

    .. math:: L_{semF} = -\frac{1}{N} \sum_i w_{y_i} (1 - p_{i, y_i})^\gamma \log p_{i, y_i}

    with :math:`p` the softmax of the logits, :math:`y` the labels and :math:`w` the class weights; see
    :func:`depthattn.functional.semantic_focal_loss`.

    Args:
        weight: one weight per class, (K,), a tensor or a sequence of numbers; None weights all classes by 1.
        gamma: focusing exponent, >= 0: the larger it is, the less well-classified pixels weigh; 0 is cross entropy.
        ignore_index: the label of pixels that do not count.
        normalize_by: divide by the number of ``"pixels"`` that count or by the sum of their ``"weight"``.
        upsample: ``"bilinear"`` resizes the logits to the size of the target; None expects one size.
        align_corners: passed to that resizing, as in :func:`torch.nn.functional.interpolate`.
        reduction: ``"mean"``, ``"per_image"``, ``"sum"`` or ``"none"``.

    Attributes:
        weight: the class weights, a buffer (K,) or None. It moves with ``.to()`` and is in the state dict.

    Shape:
        ``logits`` (B,K,...), ``target`` (B,...) integer. Returns a scalar, (B,) for ``"per_image"``, (B,...) for
        ``"none"``.

    Raises:
        ValueError: if an option value, a shape, a device or a label does not fit.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        To ``logits`` only, exactly zero at ignored pixels. The function has the edge cases.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018.

    Example:
        >>> import torch
        >>> from depthattn import SemanticFocalLoss
        >>> loss = SemanticFocalLoss(weight=torch.tensor([1.0, 3.0]), gamma=0.0)
        >>> logits, labels = torch.zeros(1, 2, 1, 2), torch.tensor([[[0, 1]]])
        >>> float(loss(logits, labels) / torch.tensor(2.0).log())  # (1 + 3) / 2 pixels
        2.0
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | Sequence[float] | None = None,
        *,
        gamma: float = 2.0,
        ignore_index: int = -100,
        normalize_by: str = "pixels",
        upsample: str | None = None,
        align_corners: bool = False,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        options = checks.semantic_focal_options(name, gamma, ignore_index, normalize_by, reduction)
        self.upsample, self.align_corners = checks.upsample_options(name, upsample, align_corners)
        self.register_buffer("weight", checks.class_weight(name, weight))
        self.gamma = options.gamma
        self.ignore_index = options.ignore_index
        self.normalize_by = options.normalize_by
        self.reduction = options.reduction

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: (B,K,...) with any number of trailing axes, before the softmax.
            target: integer class ids (B,...) or (B,1,...), in [0, K) or ``ignore_index``.

        Returns:
            A scalar, or a tensor (B,) or (B,...) by ``reduction``; float32, or float64 for float64 logits.
        """
        return semantic_focal_loss(
            logits,
            target,
            weight=self.weight,
            gamma=self.gamma,
            ignore_index=self.ignore_index,
            normalize_by=self.normalize_by,
            upsample=self.upsample,
            align_corners=self.align_corners,
            reduction=self.reduction,
        )

    def extra_repr(self) -> str:
        classes = None if self.weight is None else f"({self.weight.numel()},)"
        return (
            f"weight={classes}, gamma={self.gamma:g}, ignore_index={self.ignore_index}, "
            f"normalize_by={self.normalize_by!r}, upsample={self.upsample!r}, align_corners={self.align_corners}, "
            f"reduction={self.reduction!r}"
        )
