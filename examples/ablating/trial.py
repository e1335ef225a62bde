"""One trial: a variant trained and scored with one seed."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ablating.features import Features
from ablating.losses import VariantLoss
from ablating.network import PartlyFrozen, build_model
from ablating.scores import Scores, rarest_classes
from ablating.settings import Settings
from ablating.variants import Variant
from depthattn.metrics import class_weights
from training.optimisation import learning_rate

# The rarest classes that make up this share of the training pixels.
RARE_SHARE = 0.1

_LARGEST_GRADIENT = 10.0
_WEIGHT_METHOD = "effective_number"


@dataclass(frozen=True)
class Task:
    """What all trials of an ablation train on and are scored by.

    Args:
        train, validation: features of the frames.
        class_counts: pixels of each class in the training frames, (K,).
        thirds: depths, metres, that part the training pixels into three equal shares.
    """

    train: Features
    validation: Features
    class_counts: Tensor
    thirds: tuple[float, float]


def run_trial(
    variant: Variant, seed: int, task: Task, settings: Settings, on_step: Callable[[float], object]
) -> dict[str, float]:
    """Train the network of ``variant`` and score it.

    First weights, order of the frames and mirroring depend on ``seed`` alone, so that variants see the same.

    Args:
        variant: what to train.
        seed: of weights, order and mirroring.
        task: to train on and to score.
        settings: of the ablation.
        on_step: called with the share of the steps that are taken.

    Returns:
        The scores by name, and the gates of the sharing units.

    Raises:
        ValueError: the loss became infinite or NaN.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model = build_model(variant, len(task.class_counts), settings, seed).to(device)
    loss = VariantLoss(variant, settings.max_depth, class_weights(task.class_counts, _WEIGHT_METHOD)).to(device)
    optimizer = _optimizer(model, settings)
    generator = torch.Generator().manual_seed(seed)
    steps, total = 0, settings.epochs * (len(task.train.maps) // settings.batch_size)
    model.train()
    for _ in range(settings.epochs):
        for maps, depth, labels in task.train.training_batches(settings.batch_size, generator, device):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(steps, total, group["peak"])
            output = model(maps, settings.size)
            value = loss(output.depth, output.semantics, depth, labels)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_([parameter for _, parameter in model.trained()], _LARGEST_GRADIENT)
            optimizer.step()
            steps += 1
            reached = float(value.detach())
            if not math.isfinite(reached):
                raise ValueError(
                    f"{variant.key}, seed {seed}: the loss became {reached} at step {steps}; try a lower --lr"
                )
            on_step(steps / total)
    return {**_score(variant, model, task, settings, device), **_gates(model)}


def _optimizer(model: PartlyFrozen, settings: Settings) -> torch.optim.Optimizer:
    parts: dict[float, list[nn.Parameter]] = {settings.lr: [], settings.encoder_lr: []}
    for name, parameter in model.trained():
        parts[settings.encoder_lr if name.startswith("encoder.") else settings.lr].append(parameter)
    groups = [{"params": params, "peak": peak} for peak, params in parts.items() if params]
    return torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


@torch.no_grad()
def _score(
    variant: Variant, model: PartlyFrozen, task: Task, settings: Settings, device: torch.device
) -> dict[str, float]:
    rare = rarest_classes(task.class_counts, RARE_SHARE)
    scores = Scores(len(task.class_counts), rare, task.thirds, settings.max_depth, device)
    model.eval()
    for maps, depth, labels in task.validation.batches(settings.batch_size, device):
        output = model(maps, settings.size)
        scores.update(output.depth, output.semantics, depth, labels)
    return {
        # A task that was not trained has no scores.
        **(scores.depth() if variant.depth_weight else {}),
        **(scores.labels() if variant.label_weight else {}),
    }


def _gates(model: PartlyFrozen) -> dict[str, float]:
    """Of a unit with a gate for each channel, the root of their mean square."""
    return {f"gate/{name}": float(gate.square().mean().sqrt()) for name, gate in model.net.gates().items()}
