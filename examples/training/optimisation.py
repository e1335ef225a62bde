"""What is optimised how: the groups of parameters with their rates, the rate by step, and the average of weights."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from training.objective import TrainingStep
from training.settings import Settings

_WARM_UP = 0.1
_FINAL_RATE = 0.01


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One cycle: a linear warm-up over the first tenth, then a cosine down to a hundredth of the peak."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return peak * (_FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


def encoder_rate(settings: Settings) -> float:
    """The highest rate of the encoder: as given, or a share of the rest's where its weights are pretrained."""
    if settings.encoder_lr is not None:
        return settings.encoder_lr
    return settings.lr * (1.0 if settings.encoder_weights is None else settings.encoder_share)


def parameter_groups(step: TrainingStep, settings: Settings) -> tuple[list[dict[str, Any]], list[str]]:
    """Groups for an optimiser, and the names of all parameters in their order.

    ``share`` of a group is its part of the rate of the run.
    """
    encoder, rest = {}, {}
    for name, parameter in step.named_parameters():
        (encoder if name.startswith("model.encoder.") else rest)[name] = parameter
    groups = [
        {"params": list(rest.values()), "share": 1.0},
        {"params": list(encoder.values()), "share": encoder_rate(settings) / settings.lr},
    ]
    return groups, [*rest, *encoder]


def weight_average(model: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of weights and batch-norm statistics, which begins with those of the first step.

    In step n it keeps at most (1 + n) / (10 + n) of what it was: with a constant decay of 0.998 it would still be half
    made of the untrained network after 350 steps.

    Args:
        model: the network.
        decay: what is kept of the average at each step, in the end; below 1.
    """

    def average(averages: list[Tensor], weights: list[Tensor], steps: Tensor) -> None:
        n = int(steps)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(averages, weights, steps)

    return AveragedModel(model, multi_avg_fn=average, use_buffers=True)
