"""Which frames a step sees, and with which random numbers.

Both depend on the seed and on the place in the run alone. Nothing random is carried from one step to the next, so there
is no generator to save: a resumed run, or one with other numbers of processes and loader workers, sees the same frames
augmented in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader, Dataset, Sampler, Subset

from depthattn.data import Sample
from training.settings import Settings
from training.workers import heed_main_only

# What a seed is for, so that no two uses share a stream.
_ORDER, _FRAME, _STEP = range(3)


class SeededFrames(Dataset[Sample]):
    """Frames by (epoch, index), each augmented with random numbers of its own.

    Args:
        frames: by index; their transforms draw from torch's generator.
        seed: of the run.
    """

    def __init__(self, frames: Dataset[Sample], seed: int) -> None:
        self.frames = frames
        self.seed = seed

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, index = key
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(derived_seed(self.seed, _FRAME, epoch, index))
            return self.frames[index]


class StepBatches(Sampler[list[tuple[int, int]]]):
    """The keys of :class:`SeededFrames` that one process takes in an epoch, batch by batch.

    A step takes ``batch_size * accumulate * num_processes`` frames of the epoch's order. Which frames those are depends
    on this product only; the frames that are too few for one more step wait for another epoch.

    Args:
        frames: number of frames.
        batch_size: frames of one forward pass of one process.
        accumulate: forward passes of one step.
        process_index: of this process.
        num_processes: how many share a step.
        seed: of the run.

    Raises:
        ValueError: there are fewer frames than one step takes.
    """

    def __init__(
        self, frames: int, *, batch_size: int, accumulate: int, process_index: int, num_processes: int, seed: int
    ) -> None:
        self.frames = frames
        self.batch_size = batch_size
        self.accumulate = accumulate
        self.frames_per_step = batch_size * accumulate * num_processes
        self.steps = frames // self.frames_per_step
        self.epoch = 1
        self.first_step = 0
        self._process_index = process_index
        self._num_processes = num_processes
        self._seed = seed
        if not self.steps:
            raise ValueError(
                f"expected at least {self.frames_per_step} frames for a step (batch size {batch_size} x accumulate "
                f"{accumulate} x processes {num_processes}), got {frames}"
            )

    def __len__(self) -> int:
        return (self.steps - self.first_step) * self.accumulate

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        generator = torch.Generator().manual_seed(derived_seed(self._seed, _ORDER, self.epoch))
        order = torch.randperm(self.frames, generator=generator).tolist()
        share = self.batch_size * self._num_processes
        for start in range(self.first_step * self.frames_per_step, self.steps * self.frames_per_step, share):
            own = start + self._process_index * self.batch_size
            yield [(self.epoch, index) for index in order[own : own + self.batch_size]]


def derived_seed(seed: int, *place: int) -> int:
    """A 32-bit seed for one place of a run, unrelated to that of any other place."""
    return int(np.random.SeedSequence((seed, *place)).generate_state(1)[0])


def step_seed(seed: int, step: int, process_index: int) -> int:
    """The seed of what a network draws in a step: dropout, dropped paths."""
    return derived_seed(seed, _STEP, step, process_index)


def training_loader(frames: Dataset[Sample], settings: Settings, accelerator: Accelerator) -> DataLoader[Sample]:
    """Batches to train on; ``batch_sampler`` is a :class:`StepBatches`.

    A set smaller than a step of the expected size makes the batches smaller.
    """
    shares = settings.accumulate * accelerator.num_processes
    batches = StepBatches(
        len(frames),
        batch_size=min(settings.batch_size, max(1, len(frames) // shares)),
        accumulate=settings.accumulate,
        process_index=accelerator.process_index,
        num_processes=accelerator.num_processes,
        seed=settings.seed,
    )
    return _loader(SeededFrames(frames, settings.seed), settings, batch_sampler=batches)


def plain_loader(frames: Dataset[Sample], settings: Settings) -> DataLoader[Sample]:
    """Batches in the order of the frames, the last one as small as it comes."""
    return _loader(frames, settings, batch_size=settings.batch_size)


def own_share(frames: Dataset[Sample], accelerator: Accelerator) -> Dataset[Sample]:
    """The frames this process scores, so that each frame is scored by exactly one."""
    count = len(frames)
    return Subset(frames, range(accelerator.process_index, count, accelerator.num_processes))


def _loader(frames: Dataset[Sample], settings: Settings, **batching: object) -> DataLoader[Sample]:
    return DataLoader(
        frames,
        num_workers=settings.workers,
        persistent_workers=settings.workers > 0,
        pin_memory=torch.cuda.is_available(),
        worker_init_fn=heed_main_only,
        # Without one the loader would draw from torch's own generator.
        generator=torch.Generator().manual_seed(settings.seed),
        **batching,
    )
