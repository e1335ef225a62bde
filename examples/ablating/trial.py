"""One trial: a variant trained and scored with one seed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator

import torch
from torch.utils.data import DataLoader

from ablating.frames import Frames
from ablating.losses import TrialLoss
from ablating.network import build_model
from ablating.scores import Scores, rarest_classes
from ablating.settings import Settings
from ablating.variants import Variant
from depthattn.data import Sample
from depthattn.metrics import class_weights

# The rarest classes that make up this share of the training pixels.
RARE_SHARE = 0.1

_WARM_UP = 0.1
_LARGEST_GRADIENT = 10.0


def run_trial(
    variant: Variant, seed: int, frames: Frames, settings: Settings, on_step: Callable[[float], object]
) -> dict[str, float]:
    """Train the network of ``variant`` and score it.

    First weights, order of the frames and augmentation depend on ``seed`` alone, so that variants see the same.

    Args:
        variant: what to train.
        seed: of weights, order and augmentation.
        frames: to train on and to score.
        settings: of the ablation.
        on_step: called with the share of the steps that are taken.

    Returns:
        The scores by name, and the gates of the sharing units.

    Raises:
        ValueError: the loss became infinite or NaN.
    """
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else torch.device("cpu")
    model = build_model(variant, len(frames.class_names), settings, seed).to(device)
    weights = None if settings.class_weights == "none" else class_weights(frames.class_counts, settings.class_weights)
    loss = TrialLoss(variant, settings, weights).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
    loader = DataLoader(
        frames.train,
        batch_size=settings.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        generator=torch.Generator().manual_seed(seed),
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.lr, total_steps=settings.epochs * len(loader), pct_start=_WARM_UP, cycle_momentum=False
    )
    # Variants draw different numbers of random weights; augmentation must not notice.
    torch.manual_seed(seed)
    steps = 0
    for _ in range(settings.epochs):
        model.train()
        for batch in _on_device(loader, device):
            output = model(batch["image"])
            total = loss(output, batch)
            optimizer.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), _LARGEST_GRADIENT)
            optimizer.step()
            schedule.step()
            steps += 1
            value = float(total.detach())
            if not math.isfinite(value):
                raise ValueError(
                    f"{variant.key}, seed {seed}: the loss became {value} at step {steps}; try a lower --lr"
                )
            on_step(steps / schedule.total_steps)
    rare = rarest_classes(frames.class_counts, RARE_SHARE)
    scores = Scores(len(frames.class_names), rare, settings.max_depth, device)
    model.eval()
    with torch.no_grad():
        for batch in _on_device(DataLoader(frames.validation, batch_size=settings.batch_size), device):
            output = model(batch["image"])
            scores.update(output.depth, output.semantics, batch)
    gates = {f"gate/{name}": float(gate) for name, gate in model.gates().items()}
    return {**scores.compute(), **gates}


def _on_device(batches: Iterable[Sample], device: torch.device) -> Iterator[Sample]:
    for batch in batches:
        image = batch["image"].to(device, memory_format=torch.channels_last)
        yield {"image": image, "depth": batch["depth"].to(device), "labels": batch["labels"].to(device)}
