"""The loss of a variant, of the package's own losses."""

from __future__ import annotations

from torch import Tensor, nn

from ablating.label_terms import planar, steps
from ablating.variants import Variant
from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss, SemanticFocalLoss

# Next to these numbers every depth in metres is at one end: alpha = min(g / m, 1) is 1 or 0 everywhere, and both
# logarithms of lambda are the same.
_TINY, _HUGE = 1e-9, 1e9

_OTHER_TERMS = {"planar": planar, "steps": steps}


class VariantLoss(nn.Module):
    """The loss of ``variant``, whose parts that it lacks are there with weight 0 or as what they take the place of.

    Args:
        variant: says which parts.
        max_depth: metres where alpha is 1.
        class_weights: of a loss on labels that has some, (K,).
    """

    def __init__(self, variant: Variant, max_depth: float, class_weights: Tensor) -> None:
        super().__init__()
        normaliser = {"none": _TINY, "lambda": _HUGE}.get(variant.attention, max_depth)
        offset = _HUGE if variant.attention in ("none", "alpha") else 1.0
        self.published = AttentionDrivenLoss(
            DepthAwareLoss(max_depth=normaliser, log_offset=offset),
            JointGradientLoss(semantic_weight=float(variant.label_term == "flat")),
            SemanticFocalLoss(class_weights if variant.class_weights else None, gamma=variant.gamma),
            weights=(variant.depth_weight, variant.gradient_weight, variant.label_weight),
        )
        self._weight = variant.gradient_weight
        self._other_term = _OTHER_TERMS.get(variant.label_term or "")

    def forward(self, depth: Tensor, logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        """The weighted sum, a scalar, of predictions and ground truth of one size."""
        total = self.published(depth, logits, target, labels).total
        if self._other_term is not None:
            total = total + self._weight * self._other_term(depth, labels)
        return total
