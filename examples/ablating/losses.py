"""The loss of a variant, of the package's own losses."""

from __future__ import annotations

from torch import Tensor

from ablating.variants import Variant
from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss, SemanticFocalLoss

# Next to these numbers every depth in metres is at one end: alpha = min(g / m, 1) is 1 or 0 everywhere, and both
# logarithms of lambda are the same.
_TINY, _HUGE = 1e-9, 1e9


def build_loss(variant: Variant, max_depth: float, class_weights: Tensor) -> AttentionDrivenLoss:
    """The loss of ``variant``, whose parts that it lacks are there with weight 0 or as what they take the place of.

    Args:
        variant: says which parts.
        max_depth: metres where alpha is 1.
        class_weights: of a loss on labels that has some, (K,).
    """
    normaliser = {"none": _TINY, "lambda": _HUGE}.get(variant.attention, max_depth)
    offset = _HUGE if variant.attention in ("none", "alpha") else 1.0
    return AttentionDrivenLoss(
        DepthAwareLoss(max_depth=normaliser, log_offset=offset),
        JointGradientLoss(semantic_weight=float(variant.semantic_term)),
        SemanticFocalLoss(class_weights if variant.class_weights else None, gamma=variant.gamma),
        weights=(variant.depth_weight, variant.gradient_weight, variant.label_weight),
    )
