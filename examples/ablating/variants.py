"""What is compared: variants of loss and network, in families, and which comparison answers which question."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

from ablating.label_terms import LabelTerm

Attention = Literal["none", "alpha", "lambda", "both"]


@dataclass(frozen=True)
class Variant:
    """One way to train the network.

    Args:
        key: name of its results.
        title: what a table calls it.
        depth_weight: of the loss on depth, smooth L1 times the attention; 0 trains no depth.
        attention: the factor at each pixel: 1, alpha, lambda, or their sum as in the depth-aware loss.
        gradient_weight: of the joint gradient loss.
        label_term: what the joint gradient loss asks of depth inside of a class: to be flat, as in the paper; to be
            planar; to have no steps; or nothing (None).
        label_weight: of the loss on labels; 0 trains no labels.
        gamma: focal exponent; 0 is cross entropy.
        class_weights: whether rare classes weigh more.
        sharing: gates of the lateral sharing units; None has none.
        up_skip: whether the decoders have semi-dense up-skips.
    """

    key: str
    title: str
    depth_weight: float = 1.0
    attention: Attention = "none"
    gradient_weight: float = 0.0
    label_term: LabelTerm | None = "flat"
    label_weight: float = 1.0
    gamma: float = 0.0
    class_weights: bool = False
    sharing: Literal["scalar", "channel"] | None = None
    up_skip: bool = False

    def as_json(self) -> dict[str, Any]:
        """What makes it another variant: all but what it is called in a table."""
        return {name: value for name, value in asdict(self).items() if name != "title"}


@dataclass(frozen=True)
class Comparison:
    """What changes from ``reference`` to ``variant``; ``title`` is what a table calls it."""

    reference: Variant
    variant: Variant
    title: str


@dataclass(frozen=True)
class Family:
    """Comparisons that answer one question.

    Args:
        key: what the command line calls it.
        title: heading of its table.
        comparisons: its columns.
    """

    key: str
    title: str
    comparisons: tuple[Comparison, ...]

    @property
    def variants(self) -> tuple[Variant, ...]:
        return tuple(dict.fromkeys(one for pair in self.comparisons for one in (pair.reference, pair.variant)))


# The attention of an indoor pixel is a third on average: three times the depth-aware loss weighs as much as smooth L1.
_DEPTH, _GRADIENT = 3.0, 0.05

BASE = Variant("base", "smooth L1 + CE")
DEPTH_AWARE = replace(BASE, key="depth_aware", title="+ depth-aware loss", depth_weight=_DEPTH, attention="both")
GRADIENT = replace(DEPTH_AWARE, key="joint_gradient", title="+ joint gradient loss", gradient_weight=_GRADIENT)
FOCAL = replace(GRADIENT, key="semantic_focal", title="+ semantic focal loss", gamma=2.0, class_weights=True)
SHARING = replace(FOCAL, key="sharing", title="+ sharing unit", sharing="scalar")
UP_SKIP = replace(SHARING, key="up_skip", title="+ up-skip", up_skip=True)
LADDER = (BASE, DEPTH_AWARE, GRADIENT, FOCAL, SHARING, UP_SKIP)


def _against(reference: Variant, *variants: Variant) -> tuple[Comparison, ...]:
    return tuple(Comparison(reference, variant, variant.title) for variant in variants)


_OTHER_TERMS: tuple[tuple[LabelTerm | None, str, str], ...] = (
    (None, "depth", "no labels"),
    ("planar", "planar", "planar"),
    ("steps", "steps", "no steps"),
)

FAMILIES = (
    Family(
        "ladder",
        "The ladder: each component against the variant before it, and all against the first",
        (
            *(pair for before, after in pairwise(LADDER) for pair in _against(before, after)),
            Comparison(BASE, UP_SKIP, "all components"),
        ),
    ),
    Family(
        "attention",
        "Attention or weight: against smooth L1 of weight 1",
        _against(
            BASE,
            replace(BASE, key="heavy_smooth_l1", title="3 smooth L1", depth_weight=_DEPTH),
            replace(DEPTH_AWARE, key="light_depth_aware", title="1 depth-aware loss", depth_weight=1.0),
            replace(DEPTH_AWARE, key="alpha_alone", title="4 alpha alone", depth_weight=4.0, attention="alpha"),
            replace(DEPTH_AWARE, key="lambda_alone", title="8 lambda alone", depth_weight=8.0, attention="lambda"),
        ),
    ),
    Family(
        "gradient",
        "Joint gradient loss by weight and by its term on labels: against weight 0",
        (
            Comparison(DEPTH_AWARE, GRADIENT, "0.05"),
            *_against(
                DEPTH_AWARE,
                replace(GRADIENT, key="gradient_0.25", title="0.25", gradient_weight=0.25),
                *(
                    replace(
                        GRADIENT,
                        key=f"gradient_{weight:g}_{key}",
                        title=f"{weight:g}, {title}",
                        gradient_weight=weight,
                        label_term=term,
                    )
                    for term, key, title in _OTHER_TERMS
                    for weight in (_GRADIENT, 0.25)
                ),
            ),
        ),
    ),
    Family(
        "labels",
        "Loss on labels, one change at a time: against cross entropy of weight 1",
        _against(
            GRADIENT,
            replace(GRADIENT, key="gamma_alone", title="gamma 2", gamma=2.0),
            replace(GRADIENT, key="class_weights_alone", title="class weights", class_weights=True),
            replace(GRADIENT, key="labels_0.3", title="0.3 CE", label_weight=0.3),
            replace(GRADIENT, key="labels_3", title="3 CE", label_weight=3.0),
        ),
    ),
    Family(
        "tasks",
        "One task or two, and how they share: against two separate decoders on one encoder",
        _against(
            FOCAL,
            replace(FOCAL, key="depth_only", title="depth only", label_weight=0.0),
            replace(FOCAL, key="labels_only", title="labels only", depth_weight=0.0, gradient_weight=0.0),
            replace(FOCAL, key="sharing_channel", title="sharing by channel gates", sharing="channel"),
        ),
    ),
    Family(
        "weights",
        "All components with the plain sum of the paper: against the weights of the ladder",
        _against(UP_SKIP, replace(UP_SKIP, key="plain_sum", title="1, 1, 1", depth_weight=1.0, gradient_weight=1.0)),
    ),
)


def variants_of(families: tuple[Family, ...]) -> tuple[Variant, ...]:
    """All that the families compare, each once, in their order."""
    return tuple(dict.fromkeys(variant for family in families for variant in family.variants))
