"""The attention-driven loss: the three losses together, weighted by hand or by learning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from depthattn.losses.depth_aware import DepthAwareLoss
from depthattn.losses.joint_gradient import JointGradientLoss
from depthattn.losses.semantic_focal import SemanticFocalLoss
from depthattn.ops import checks


class AttentionDrivenLosses(NamedTuple):
    """The attention-driven loss and its parts.

    Attributes:
        total: what to differentiate, a scalar.
        depth_aware: the unweighted depth-aware loss, detached, ready to log.
        joint_gradient: the unweighted joint gradient loss, detached.
        semantic_focal: the unweighted semantic focal loss, detached.
    """

    total: Tensor
    depth_aware: Tensor
    joint_gradient: Tensor
    semantic_focal: Tensor


class AttentionDrivenLoss(nn.Module):
    r"""Depth-aware, joint gradient and semantic focal loss together.

    .. math:: L = w_1 L_{DA} + w_2 L_{JG} + w_3 L_{semF}

    With ``weights="learned"`` each loss has a learned log-variance :math:`s` and the weights balance themselves:

    .. math:: L = \sum_{j \in \{DA, JG\}} \tfrac{1}{2} (e^{-s_j} L_j + s_j) + e^{-s_3} L_{semF} + \tfrac{1}{2} s_3

    A loss without a single valid pixel in the batch adds nothing, neither to the total nor to the gradient of its
    log-variance.

    Args:
        depth_aware: the loss on depth; None makes ``DepthAwareLoss()``.
        joint_gradient: the loss on depth gradients; None makes ``JointGradientLoss()``. It is given the labels.
        semantic_focal: the loss on labels; None makes ``SemanticFocalLoss()``.
        weights: three numbers >= 0 in the order above, or ``"learned"``, which adds the parameter ``log_variances``.

    Shape:
        ``depth`` (B,1,H,W), (B,H,W) or (H,W) in metres; ``semantics`` (B,K,H,W) logits; ``depth_target`` like
        ``depth``; ``label_target`` (B,H,W) integer; ``mask`` like ``depth``, bool, True = use the pixel of
        ``depth_target``. A target that is None leaves its losses out, and either target may miss any pixels, down to
        all of them. Returns :class:`AttentionDrivenLosses`.

    Raises:
        ValueError: if a loss reduces to anything but a scalar, if the weights do not fit, or if both targets are
            missing; else as the three losses do.
        TypeError: if an argument has the wrong type or dtype.

    Gradient:
        Through ``total`` to ``depth``, ``semantics`` and the learned log-variances. The parts are detached.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, where the weights are 1. The learned weights are those of
        Kendall, Gal and Cipolla, "Multi-Task Learning Using Uncertainty to Weigh Losses", CVPR 2018.

    Example:
        >>> import torch
        >>> from depthattn import AttentionDrivenLoss, DepthAwareLoss
        >>> loss = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights=(1.0, 0.5, 1.0))
        >>> depth, logits = torch.ones(2, 1, 8, 8), torch.zeros(2, 4, 8, 8)
        >>> no_depth, labels = torch.zeros(2, 1, 8, 8), torch.zeros(2, 8, 8, dtype=torch.long)
        >>> parts = loss(depth, logits, no_depth, labels)
        >>> float(parts.depth_aware), float(parts.total) == float(parts.semantic_focal)
        (0.0, True)
    """

    def __init__(
        self,
        depth_aware: DepthAwareLoss | None = None,
        joint_gradient: JointGradientLoss | None = None,
        semantic_focal: SemanticFocalLoss | None = None,
        *,
        weights: Sequence[float] | str = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__()
        name = type(self).__name__
        self.depth_aware = DepthAwareLoss() if depth_aware is None else depth_aware
        self.joint_gradient = JointGradientLoss() if joint_gradient is None else joint_gradient
        self.semantic_focal = SemanticFocalLoss() if semantic_focal is None else semantic_focal
        for part in (self.depth_aware, self.joint_gradient, self.semantic_focal):
            if part.reduction not in ("mean", "sum"):
                raise ValueError(
                    f'{name}: wanted losses with reduction "mean" or "sum", got {type(part).__name__} with '
                    f"{part.reduction!r}"
                )
        self.weights: tuple[float, ...] | None
        if isinstance(weights, str):
            checks.check_choice(name, "weights", weights, ("learned",))
            self.weights = None
            self.log_variances = nn.Parameter(torch.zeros(3))
        else:
            if len(weights) != 3:
                raise ValueError(f'{name}: wanted three weights or "learned", got {len(weights)}')
            for index, weight in enumerate(weights):
                checks.check_number(name, f"weights[{index}]", weight, at_least=0)
            self.weights = tuple(weights)
            self.register_parameter("log_variances", None)

    def forward(
        self,
        depth: Tensor,
        semantics: Tensor,
        depth_target: Tensor | None,
        label_target: Tensor | None,
        mask: Tensor | None = None,
    ) -> AttentionDrivenLosses:
        if depth_target is None and label_target is None:
            raise ValueError(f"{type(self).__name__}: wanted a depth_target or a label_target, got neither")
        absent = depth.new_zeros((), dtype=torch.float32)
        depth_aware = joint_gradient = semantic_focal = absent
        if depth_target is not None:
            depth_aware = self.depth_aware(depth, depth_target, mask)
            joint_gradient = self.joint_gradient(depth, depth_target, label_target, mask)
        if label_target is not None:
            semantic_focal = self.semantic_focal(semantics, label_target)
        parts = (depth_aware, joint_gradient, semantic_focal)
        total = self._learned(parts) if self.weights is None else self._weighted(parts, self.weights)
        return AttentionDrivenLosses(total, *(part.detach() for part in parts))

    def _weighted(self, parts: tuple[Tensor, ...], weights: tuple[float, ...]) -> Tensor:
        total = weights[0] * parts[0]
        for weight, part in zip(weights[1:], parts[1:], strict=True):
            total = total + weight * part
        return total

    def _learned(self, parts: tuple[Tensor, ...]) -> Tensor:
        losses = torch.stack(parts)
        # A density in metres has the factor 1/2 (a Gaussian's), a softmax has not.
        half = losses.new_tensor((0.5, 0.5, 1.0))
        terms = half * torch.exp(-self.log_variances) * losses + 0.5 * self.log_variances
        # Without a valid pixel the loss is exactly 0, and log-variances would otherwise drift towards minus infinity.
        return torch.where(losses.detach() == 0, 0, terms).sum()

    def extra_repr(self) -> str:
        return f"weights={'learned' if self.weights is None else self.weights!r}"
