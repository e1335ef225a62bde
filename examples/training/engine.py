"""The optimisation: one epoch of steps, one pass of scoring, and the state between two steps."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object, set_seed
from torch import Tensor
from torch.utils.data import DataLoader

from depthattn import SynergyNet, metrics
from depthattn.data import Sample
from training.batches import StepBatches, step_seed
from training.checkpoint import Checkpoint, CheckpointError
from training.facts import expect, row_from_json
from training.network import join_batch_norms, train_mode
from training.objective import TrainingStep, build_loss
from training.optimisation import learning_rate, parameter_groups, weight_average
from training.settings import Settings
from training.state import load_optimizer, load_weights, optimizer_tensors

LOSSES = ("total", "depth_aware", "joint_gradient", "semantic_focal")

_LARGEST_GRADIENT = 10.0
# Of an fp16 loss, which begins at 2**16: what still overflows here is not a matter of scale.
_SMALLEST_SCALE = 2.0**-13
# Reading a loss waits for the device, which on an accelerator is worth doing only now and then.
_STEPS_PER_READ = 10


class TrainingStopped(RuntimeError):
    """Training cannot go on; the message says why."""


@dataclass(frozen=True)
class StepReport:
    """What is known after a step.

    Args:
        losses: means over all images of the step that was read last.
        gradient: norm of the gradient of that step, before it was clipped.
        images: images of a step, over all processes.
        data_seconds: how long this step waited for its images.
        read: whether losses and gradient are of this very step.
        stop: whether all processes know that a signal asked to stop.
    """

    losses: Mapping[str, float]
    gradient: float
    images: int
    data_seconds: float
    read: bool
    stop: bool


class Engine:
    """One model in training.

    Args:
        settings: of the run.
        accelerator: drives device, processes and precision.
        model: what to train.
        loader: batches to train on, from :func:`training.batches.training_loader`.
        num_classes: number of classes; 0 if there are no labels.

    Attributes:
        steps: optimiser steps done, from which epoch, learning rate and random numbers follow.
        steps_per_epoch: optimiser steps of an epoch.

    Raises:
        ValueError: an option does not fit the device.
    """

    def __init__(
        self,
        settings: Settings,
        accelerator: Accelerator,
        model: SynergyNet,
        loader: DataLoader[Sample],
        num_classes: int,
    ) -> None:
        model = join_batch_norms(model, settings, accelerator)
        self._step = TrainingStep(model, build_loss(settings), compiled=settings.compile)
        groups, self._names = parameter_groups(self._step, settings)
        # Fused: in one pass over each parameter, which on a CPU takes half of the time.
        optimizer = torch.optim.AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)
        self._joint, self.optimizer = accelerator.prepare(self._step, optimizer)
        self._average = weight_average(self.net, settings.ema) if settings.ema else None
        self.settings = settings
        self.accelerator = accelerator
        self.loader = loader
        self.batches: StepBatches = loader.batch_sampler
        self.num_classes = num_classes
        self.steps = 0
        self.steps_per_epoch = self.batches.steps
        self.total_steps = settings.epochs * self.steps_per_epoch
        # On the host, in double precision, which not every accelerator has.
        self._sums = torch.zeros(len(LOSSES), dtype=torch.float64)
        self._unread: list[Tensor] = []
        self._read_every = 1 if accelerator.device.type == "cpu" else _STEPS_PER_READ

    @property
    def net(self) -> SynergyNet:
        """The model itself, without the wrapping of several processes."""
        return self._step.model

    @property
    def scored(self) -> SynergyNet:
        """The network that is scored and kept: the average of the weights of all steps, or the model itself."""
        return self.net if self._average is None else self._average.module

    @property
    def lr(self) -> float:
        """The rate of the next step; after the last one, that one's."""
        return learning_rate(min(self.steps, self.total_steps - 1), self.total_steps, self.settings.lr)

    def train_epoch(
        self,
        epoch: int,
        on_step: Callable[[StepReport], None],
        stop_requested: Callable[[], bool] = lambda: False,
    ) -> dict[str, float]:
        """Take the steps of ``epoch`` that are not done yet; returns the mean losses of all of its steps.

        Args:
            epoch: counted from 1.
            on_step: called after each step; may raise to end the epoch early.
            stop_requested: whether this process was asked to stop; the reports say so once all processes agree.

        Raises:
            TrainingStopped: the loss or its gradient is not finite; the weights are those before.
        """
        train_mode(self._joint, self.settings)
        self.batches.epoch = epoch
        self.batches.first_step = self.steps - (epoch - 1) * self.steps_per_epoch
        if self.batches.first_step == 0:
            self._sums.zero_()
            self._unread.clear()
        frames = self._on_device(self.loader) if len(self.batches) else iter(())
        losses: dict[str, float] = {}
        gradient, stop = math.nan, False
        for step in range(self.batches.first_step, self.steps_per_epoch):
            set_seed(step_seed(self.settings.seed, self.steps, self.accelerator.process_index))
            values, norm, data_seconds = self._accumulate(frames)
            read = (step + 1) % self._read_every == 0 or step + 1 == self.steps_per_epoch
            if read:
                *means, stops = self.accelerator.reduce(
                    torch.cat([values, values.new_tensor([float(stop_requested())])]), "mean"
                ).tolist()
                losses, gradient, stop = dict(zip(LOSSES, means, strict=True)), float(norm), stops > 0
                self._check_finite(losses, gradient)
            for group in self.optimizer.param_groups:
                group["lr"] = self.lr * group["share"]
            self.optimizer.step()
            if self._average is not None:
                self._average.update_parameters(self.net)
            self.optimizer.zero_grad()
            self._unread.append(values)
            self.steps += 1
            on_step(StepReport(losses, gradient, self.batches.frames_per_step, data_seconds, read, stop))
        return {name: total / self.steps_per_epoch for name, total in self._loss_sums().items()}

    def _loss_sums(self) -> dict[str, float]:
        """Losses added over the steps of this epoch, means over all processes; to be called by all of them."""
        if self._unread:
            self._sums += torch.stack(self._unread).cpu().double().sum(0)
            self._unread.clear()
        sums = torch.tensor(gather_object([self._sums.tolist()]), dtype=torch.float64)
        return dict(zip(LOSSES, sums.mean(0).tolist(), strict=True))

    def _accumulate(self, frames: Iterator[Sample]) -> tuple[Tensor, Tensor, float]:
        """Gradients of one step: this process' mean losses, the norm of the joint gradient, and the wait for data."""
        count = self.batches.accumulate
        values = torch.zeros(len(LOSSES), device=self.accelerator.device)
        waited = 0.0
        for index in range(count):
            started = time.monotonic()
            batch = next(frames)
            waited += time.monotonic() - started
            # Processes exchange gradients once, in the last backward pass of the step.
            alone = self.accelerator.no_sync(self._joint) if index + 1 < count else nullcontext()
            with alone:
                _, losses = self._joint(batch["image"], batch["depth"], batch["labels"])
                self.accelerator.backward(losses.total / count)
            values += torch.stack([part.detach().float() for part in losses]) / count
        norm = self.accelerator.clip_grad_norm_(self._step.parameters(), _LARGEST_GRADIENT)
        return values, norm, waited

    @torch.no_grad()
    def validate(
        self, batches: Iterable[Sample], stop_requested: Callable[[], bool] = lambda: False
    ) -> dict[str, float] | None:
        """Losses and scores over the ``batches`` of all processes; a score without any ground truth is NaN.

        A single process that is asked to stop returns None. Several go on, as none of them can leave the others alone.
        """
        scored = TrainingStep(self.scored, self._step.loss).eval()
        device = self.accelerator.device
        depth_scores = metrics.DepthMetrics(max_depth=self.settings.max_depth).to(device)
        label_scores = metrics.SegmentationMetrics(max(self.num_classes, 1)).to(device)
        values, sizes = [torch.zeros(len(LOSSES), device=device)], [0]
        for batch in self._on_device(batches):
            # Not the joint module: it would wait for the other processes, which may have fewer batches.
            with self.accelerator.autocast():
                output, losses = scored(batch["image"], batch["depth"], batch["labels"])
            values.append(torch.stack([part.float() for part in losses]))
            sizes.append(len(batch["image"]))
            depth_scores.update(output.depth, batch["depth"])
            label_scores.update(output.semantics, batch["labels"])
            if self.accelerator.num_processes == 1 and stop_requested():
                return None
        weights = torch.tensor(sizes, dtype=torch.float64)
        sums = weights @ torch.stack(values).cpu().double()
        totals = torch.tensor(gather_object([[*sums.tolist(), sum(sizes)]]), dtype=torch.float64).sum(0)
        means = dict(zip(LOSSES, (totals[:-1] / totals[-1]).tolist(), strict=True))
        scores = {**depth_scores.compute(), **label_scores.compute()}
        # An epoch is a row of numbers: the IoU of each class is left out.
        return {**means, **{name: float(score) for name, score in scores.items() if score.ndim == 0}}

    @torch.no_grad()
    def predict(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Depth (B, 1, H, W) and classes (B, H, W) of ``images``, on the CPU."""
        self.scored.eval()
        images = images.to(self.accelerator.device).contiguous(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            output = self.scored(images)
        return output.depth.float().cpu(), output.semantics.argmax(1).cpu()

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Everything a checkpoint needs but :meth:`progress`, by file.

        Raises:
            TrainingStopped: a weight is not finite, so that this state is not worth keeping.
        """
        weights = self.net.state_dict()
        # All in one, so that a device is waited for once.
        finite = torch.stack([value.isfinite().all() for value in weights.values() if value.is_floating_point()])
        if not finite.all():
            raise TrainingStopped(f"a weight is not finite after step {self.steps}; {self._advice()}")
        groups = {
            "model": weights,
            "optimizer": optimizer_tensors(self.optimizer, self._names),
            "loss": self._step.loss.state_dict(),
            "average": {} if self._average is None else self._average.state_dict(),
        }
        return {name: tensors for name, tensors in groups.items() if tensors}

    def progress(self) -> dict[str, Any]:
        """Where the run is, JSON-able; to be called by all processes."""
        scaler = self.accelerator.scaler
        return {
            "step": self.steps,
            "frames_per_step": self.batches.frames_per_step,
            "loss_sums": self._loss_sums(),
            "scaler": scaler.state_dict() if scaler is not None else None,
        }

    def restore(self, saved: Checkpoint) -> None:
        """Go back to the state that a checkpoint holds.

        Raises:
            RecordError: it is of another network, or of steps of another number of frames, or damaged.
        """
        expect(saved.info, {"progress": dict}, saved.path)
        progress = saved.info["progress"]
        expect(progress, {"step": int, "frames_per_step": int, "loss_sums": dict}, saved.path)
        sums = row_from_json(progress["loss_sums"], LOSSES, f"{saved.path}, loss_sums")
        if progress["frames_per_step"] != self.batches.frames_per_step:
            raise CheckpointError(
                f"--resume: expected the {progress['frames_per_step']} frames per step of the run (batch size x "
                f"accumulate x processes), got {self.batches.frames_per_step}"
            )
        load_weights(self.net, saved.tensors.get("model", {}), "model")
        load_weights(self._step.loss, saved.tensors.get("loss", {}), "loss")
        if self._average is not None:
            load_weights(self._average, saved.tensors.get("average", {}), "average")
        load_optimizer(self.optimizer, self._names, saved.tensors.get("optimizer", {}))
        self.steps = progress["step"]
        self._sums.copy_(torch.tensor([sums[name] for name in LOSSES], dtype=torch.float64))
        scaler = self.accelerator.scaler
        if scaler is not None and progress.get("scaler") is not None:
            expect(progress, {"scaler": dict}, saved.path)
            expect(progress["scaler"], {key: type(value) for key, value in scaler.state_dict().items()}, saved.path)
            scaler.load_state_dict(progress["scaler"])

    def _check_finite(self, losses: Mapping[str, float], gradient: float) -> None:
        if not all(math.isfinite(value) for value in losses.values()):
            parts = ", ".join(f"{name} {value:.4g}" for name, value in losses.items())
            raise TrainingStopped(f"the loss is not finite at step {self.steps + 1} ({parts}); {self._advice()}")
        scaler = self.accelerator.scaler
        # With fp16 a gradient may overflow: its scaler then leaves the step out and halves the scale.
        if not math.isfinite(gradient) and (scaler is None or scaler.get_scale() < _SMALLEST_SCALE):
            raise TrainingStopped(f"the gradient is not finite at step {self.steps + 1}; {self._advice()}")

    def _advice(self) -> str:
        return f"a lower --lr than {self.settings.lr:g} or --precision no usually helps"

    def _on_device(self, batches: Iterable[Sample]) -> Iterator[Sample]:
        for batch in batches:
            yield {key: value.to(self.accelerator.device, non_blocking=True) for key, value in batch.items()}
