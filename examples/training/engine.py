"""The optimisation: building the pieces, one epoch of steps, one pass of scoring."""

from __future__ import annotations

import math
import signal
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset

from depthattn import AttentionDrivenLoss, DepthAwareLoss, JointGradientLoss, SemanticFocalLoss, SynergyNet
from depthattn.data import Sample
from depthattn.metrics import DepthMetrics, SegmentationMetrics
from training.settings import Settings

LOSSES = ("total", "depth_aware", "joint_gradient", "semantic_focal")

_WARM_UP = 0.1
_FINAL_RATE = 0.01
_LARGEST_GRADIENT = 10.0
# Reading a loss waits for the device, which on an accelerator is worth doing only now and then.
_STEPS_PER_READ = 10


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why."""


def build_model(settings: Settings, num_classes: int) -> SynergyNet:
    # A net without a class cannot be built: where there are no labels, its one class is never trained nor shown.
    model = SynergyNet(
        settings.encoder,
        max(num_classes, 1),
        decoder_channels=settings.decoder_channels,
        sharing=settings.sharing,
        up_skip=settings.up_skip,
        # The loss takes the decoder's logits as they are, so that training never holds full-size ones.
        upsample_semantics="eval",
        encoder_weights=settings.encoder_weights,
    )
    return model.to(memory_format=torch.channels_last)


def build_loss(settings: Settings) -> AttentionDrivenLoss:
    return AttentionDrivenLoss(
        DepthAwareLoss(distance=settings.distance, max_depth=settings.max_depth, log_offset=settings.log_offset),
        JointGradientLoss(),
        SemanticFocalLoss(gamma=settings.gamma, upsample="bilinear"),
        weights=settings.loss_weights,
    )


def build_loader(
    frames: Dataset[Sample], settings: Settings, *, batch_size: int, shuffle: bool = False
) -> DataLoader[Sample]:
    return DataLoader(
        frames,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=shuffle,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=_ignore_interrupt,
        generator=torch.Generator().manual_seed(settings.seed),
    )


def own_share(frames: Dataset[Sample], accelerator: Accelerator) -> Dataset[Sample]:
    """The frames this process scores, so that each frame is scored by exactly one."""
    count = len(frames)
    return Subset(frames, range(accelerator.process_index, count, accelerator.num_processes))


def learning_rate(step: int, steps: int, peak: float) -> float:
    """One cycle: a linear warm-up over the first tenth, then a cosine down to a hundredth of the peak."""
    warm_up = max(1, round(_WARM_UP * steps))
    if step < warm_up:
        return peak * (step + 1) / warm_up
    progress = (step - warm_up) / max(1, steps - warm_up)
    return peak * (_FINAL_RATE + (1 - _FINAL_RATE) * 0.5 * (1 + math.cos(math.pi * progress)))


class Engine:
    """One model in training.

    Args:
        settings: of the run.
        accelerator: drives device, processes and precision.
        model: what to train.
        loader: batches to train on.
        num_classes: number of classes; 0 if there are no labels.
    """

    def __init__(
        self,
        settings: Settings,
        accelerator: Accelerator,
        model: SynergyNet,
        loader: DataLoader[Sample],
        num_classes: int,
    ) -> None:
        loss = build_loss(settings)
        parameters = [*model.parameters(), *loss.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
        self.accelerator = accelerator
        self.model, self.optimizer, self.loader = accelerator.prepare(model, optimizer, loader)
        # Only a loss that learns its weights has parameters for several processes to agree on.
        self.loss: nn.Module = accelerator.prepare(loss) if any(True for _ in loss.parameters()) else loss
        self.num_classes = num_classes
        self.steps = 0
        self.total_steps = settings.epochs * len(self.loader)
        self._parameters = parameters
        self._peak = settings.lr
        self._max_depth = settings.max_depth
        self._read_every = 1 if accelerator.device.type == "cpu" else _STEPS_PER_READ

    @property
    def net(self) -> SynergyNet:
        """The model itself, without the wrapping of several processes."""
        net: SynergyNet = self.accelerator.unwrap_model(self.model)
        return net

    def train_epoch(self, on_step: Callable[[Mapping[str, float], int], None]) -> dict[str, float]:
        """Take one step per batch; returns the mean losses and calls ``on_step`` with those of each step."""
        self.model.train()
        sums = torch.zeros(len(LOSSES), dtype=torch.float64, device=self.accelerator.device)
        shown: dict[str, float] = {}
        batches = 0
        for batch in self.loader:
            self.lr = learning_rate(self.steps, self.total_steps, self._peak)
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr
            losses = self._losses(self._forward(batch), batch)
            self.accelerator.backward(losses.total)
            self.accelerator.clip_grad_norm_(self._parameters, _LARGEST_GRADIENT)
            self.optimizer.step()
            self.optimizer.zero_grad()
            values = torch.stack([part.detach().double() for part in losses])
            sums += values
            self.steps += 1
            batches += 1
            if batches % self._read_every == 0 or batches == len(self.loader):
                shown = dict(zip(LOSSES, values.tolist(), strict=True))
                self._check_finite(shown)
            on_step(shown, len(batch["image"]) * self.accelerator.num_processes)
        means = self.accelerator.reduce(sums / batches, "mean")
        return dict(zip(LOSSES, means.tolist(), strict=True))

    @torch.no_grad()
    def validate(self, batches: Iterable[Sample]) -> dict[str, float]:
        """Losses and scores over ``batches``; a score without any truth is NaN."""
        self.model.eval()
        device = self.accelerator.device
        depth_scores = DepthMetrics(max_depth=self._max_depth).to(device)
        label_scores = SegmentationMetrics(max(self.num_classes, 1)).to(device)
        sums: defaultdict[str, Tensor] = defaultdict(lambda: torch.zeros((), dtype=torch.float64, device=device))
        for batch in self._on_device(batches):
            output = self._forward(batch)
            for name, value in zip(LOSSES, self._losses(output, batch), strict=True):
                sums[name] += value.double() * len(batch["image"])
            sums["frames"] += len(batch["image"])
            depth_scores.update(output.depth, batch["depth"])
            label_scores.update(output.semantics, batch["labels"])
        totals = self.accelerator.reduce(torch.stack([sums[name] for name in (*LOSSES, "frames")]), "sum")
        means = dict(zip(LOSSES, (totals[:-1] / totals[-1]).tolist(), strict=True))
        scores = {**depth_scores.compute(), **label_scores.compute()}
        return {**means, **{name: float(score) for name, score in scores.items()}}

    @torch.no_grad()
    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Depth (B, 1, H, W) and classes (B, H, W) of ``images``, on the CPU."""
        self.model.eval()
        output = self._forward({"image": images.to(self.accelerator.device)})
        return output.depth.cpu(), output.semantics.argmax(1).cpu()

    def _forward(self, batch: Mapping[str, Any]) -> Any:
        return self.model(batch["image"].contiguous(memory_format=torch.channels_last))

    def _losses(self, output: Any, batch: Sample) -> Any:
        labels = batch["labels"] if self.num_classes else None
        return self.loss(output.depth, output.semantics, batch["depth"], labels)

    def _check_finite(self, losses: Mapping[str, float]) -> None:
        if not all(math.isfinite(value) for value in losses.values()):
            parts = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            raise TrainingStopped(
                f"the loss is not finite at step {self.steps} ({parts}); a lower --lr than {self._peak:g} "
                "or --precision no usually helps"
            )

    def _on_device(self, batches: Iterable[Sample]) -> Iterator[Sample]:
        for batch in batches:
            yield {key: value.to(self.accelerator.device) for key, value in batch.items()}


def _ignore_interrupt(worker: int) -> None:
    # Ctrl-C reaches every process of the terminal; the main one stops its workers itself, and says so once.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
