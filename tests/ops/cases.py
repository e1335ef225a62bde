"""One call of each operation, with the inputs that it differentiates: what the contract tests run over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss, use_backend
from depthattn import functional as F


@dataclass(frozen=True)
class Case:
    """``run(*inputs)`` calls the operation and ``formula(*inputs)`` its reference; all inputs are differentiable."""

    name: str
    make: Callable[[torch.dtype], tuple[Tensor, ...]]
    run: Callable[..., Tensor]

    def formula(self, *inputs: Tensor) -> Tensor:
        with use_backend("reference"):
            return self.run(*inputs)

    def inputs(self, dtype: torch.dtype, *, requires_grad: bool = True) -> tuple[Tensor, ...]:
        return tuple(x.to(dtype).requires_grad_(requires_grad) for x in self.make(dtype))


def random(*shape: int, seed: int = 1, low: float = 0.0, high: float = 1.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * (high - low) + low


def depth(*shape: int, seed: int) -> Tensor:
    return random(*shape, seed=seed, low=0.4, high=9.0)


def on_grid(x: Tensor) -> Tensor:
    """Rounded to sixteenths, so that constants below 16 are the same in every dtype down to bfloat16."""
    return (16 * x).round() / 16


def target_with_holes(*shape: int, seed: int = 2) -> Tensor:
    target = on_grid(depth(*shape, seed=seed))
    target[random(*shape, seed=seed + 100) < 0.1] = 0.0
    target.view(-1)[3] = float("nan")
    target.view(-1)[5] = float("inf")
    target.view(-1)[8] = -1.0
    return target


def blocks_of_labels(batch: int, height: int, width: int) -> Tensor:
    """Four classes with straight borders in both directions, and an ignored corner with windows of its own."""
    labels = torch.zeros(batch, height, width, dtype=torch.int64)
    labels[:, :, width // 2 :] = 2
    labels[:, height // 2 :] += 1
    labels[:, :4, :4] = -100
    return labels


def labels_for(*shape: int, classes: int, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(classes, shape, generator=generator)
    labels[torch.rand(shape, generator=generator) < 0.2] = -100
    return labels


SIZE = (2, 9, 11)
TARGET = target_with_holes(*SIZE)
MASK = random(*SIZE, seed=9) < 0.9
LABELS = blocks_of_labels(*SIZE)
CLASSES = labels_for(2, 4, 5, classes=5)
WEIGHT = on_grid(random(5, seed=11, low=0.2, high=2.0))


def _depth_aware(**options: Any) -> Case:
    def run(pred: Tensor) -> Tensor:
        return F.depth_aware_loss(pred, TARGET.to(pred.dtype), MASK, reduction="per_image", **options)

    name = "depth_aware-" + ("-".join(f"{k}={v}" for k, v in options.items()) or "default")
    return Case(name, lambda dtype: (depth(*SIZE, seed=1),), run)


def _joint_gradient(kind: str) -> Case:
    def run(pred: Tensor, *maps: Tensor) -> Tensor:
        return F.joint_gradient_loss(
            pred,
            TARGET.to(pred.dtype),
            MASK,
            labels=LABELS if kind == "labels" else None,
            semantics=maps[0] if maps else None,
            semantic_weight=0.7,
            reduction="per_image",
        )

    def make(dtype: torch.dtype) -> tuple[Tensor, ...]:
        pred = depth(*SIZE, seed=1)
        return (pred, depth(*SIZE, seed=4)) if kind == "map" else (pred,)

    return Case(f"joint_gradient-{kind}", make, run)


def _semantic_focal(gamma: float, weight: Tensor | None = None) -> Case:
    def run(logits: Tensor) -> Tensor:
        own = None if weight is None else weight.to(logits.dtype)
        return F.semantic_focal_loss(logits, CLASSES, weight=own, gamma=gamma, reduction="per_image")

    name = f"semantic_focal-gamma={gamma:g}" + ("" if weight is None else "-weighted")
    return Case(name, lambda dtype: (random(2, 5, 4, 5, seed=6, low=-3, high=3),), run)


def _semantic_focal_upsample(gamma: float, height: int, width: int, align_corners: bool = False) -> Case:
    """Logits at (height,width) with labels at (4,5)."""

    def run(logits: Tensor) -> Tensor:
        return F.semantic_focal_loss(
            logits,
            CLASSES,
            weight=WEIGHT.to(logits.dtype),
            gamma=gamma,
            upsample="bilinear",
            align_corners=align_corners,
            reduction="per_image",
        )

    corners = "-corners" if align_corners else ""
    name = f"semantic_focal_upsample-{height}x{width}-gamma={gamma:g}{corners}"
    return Case(name, lambda dtype: (random(2, 5, height, width, seed=6, low=-3, high=3),), run)


def _lateral_sharing(tasks: int, per_channel: bool) -> Case:
    def make(dtype: torch.dtype) -> tuple[Tensor, ...]:
        gates = random(tasks, tasks, *([3] if per_channel else []), seed=20, low=-1)
        return (gates, *(random(2, 3, 4, 5, seed=21 + t, low=-1) for t in range(tasks)))

    return Case(
        f"lateral_sharing-{tasks}-{'channel' if per_channel else 'scalar'}",
        make,
        lambda gates, *features: torch.stack(F.lateral_sharing(features, gates)),
    )


def _semi_dense_up_skip(mode: str) -> Case:
    sizes = ((2, 3), (5, 4), (7, 9), (12, 10))
    return Case(
        f"semi_dense_up_skip-{mode}",
        lambda dtype: tuple(random(2, 3, *size, seed=30 + j, low=-1) for j, size in enumerate(sizes)),
        lambda *features: F.semi_dense_up_skip(features, (7, 9), mode=mode),
    )


def attention_depth(
    pred: Tensor,
    weights: Tensor,
    *,
    labels: Tensor | None = LABELS,
    max_depth: float | None = None,
    per_image: bool = False,
) -> Tensor:
    """The depth side of the attention-driven loss over TARGET and MASK: two means, or a mean and a sum, weighted."""
    first, second = ("per_image", "per_image") if per_image else ("mean", "sum")
    loss = AttentionDrivenLoss(
        DepthAwareLoss(max_depth=max_depth, reduction=first),
        JointGradientLoss(semantic_weight=0.7, reduction=second),
    )
    return loss.depth_side(pred, TARGET.to(pred.dtype), labels, MASK, weights)[0]


def _attention_depth(kind: str, max_depth: float | None, per_image: bool) -> Case:
    labels = LABELS if kind == "labels" else None
    return Case(
        f"attention_depth-{kind}-{'images' if per_image else 'batch'}",
        lambda dtype: (depth(*SIZE, seed=1), random(3, seed=14, low=0.5, high=2.0)[: 2 if labels is None else 3]),
        lambda pred, weights: attention_depth(pred, weights, labels=labels, max_depth=max_depth, per_image=per_image),
    )


CASES = [
    _depth_aware(),
    _depth_aware(distance="l1", log_offset=0.0),
    _depth_aware(distance="l2", max_depth=4.0),
    _depth_aware(beta=0.3, detach_weight=True),
    _depth_aware(distance="berhu"),
    _joint_gradient("none"),
    _joint_gradient("labels"),
    _joint_gradient("map"),
    _attention_depth("labels", None, True),
    _attention_depth("none", 4.0, False),
    _semantic_focal(0.0),
    _semantic_focal(0.5),
    _semantic_focal(2.0, WEIGHT),
    _lateral_sharing(2, False),
    _lateral_sharing(3, True),
    _semi_dense_up_skip("bilinear"),
    _semi_dense_up_skip("nearest"),
    _semantic_focal_upsample(2.0, 3, 2),
    _semantic_focal_upsample(0.5, 7, 4),
    _semantic_focal_upsample(2.0, 3, 2, align_corners=True),
]
NAMES_OF_EACH = (
    "depth_aware-default", "joint_gradient-map", "attention_depth-labels-images", "semantic_focal-gamma=2-weighted",
    "semantic_focal_upsample-3x2-gamma=2", "lateral_sharing-2-scalar", "semi_dense_up_skip-bilinear",
)  # fmt: skip
ONE_OF_EACH = [case for case in CASES if case.name in NAMES_OF_EACH]
