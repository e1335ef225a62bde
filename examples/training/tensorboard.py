"""The TensorBoard log of a run: losses of steps, scores and gates of epochs, pictures of a few frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from depthattn._extras import require
from depthattn.data import Sample
from depthattn.viz import colour_depth, colour_error, colour_labels
from training.engine import Engine, StepReport

_FRAMES = 3
# Seconds between writes to disk.
_FLUSH = 10


class TensorBoardLog:
    """Writes scalars and pictures.

    Args:
        folder: of the event files.
        step: the step the run is at; what an earlier part of it logged beyond is hidden.

    Raises:
        ImportError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        require("tensorboard", extra="train", purpose="the TensorBoard log (see --no-tensorboard)")
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None, flush_secs=_FLUSH)

    def step(self, report: StepReport, step: int, lr: float) -> None:
        """Losses, gradient, rate and wait for data of a step."""
        for name, value in report.losses.items():
            self._writer.add_scalar(f"step/{name}", value, step)
        self._writer.add_scalar("step/gradient", report.gradient, step)
        self._writer.add_scalar("step/lr", lr, step)
        self._writer.add_scalar("step/data_seconds", report.data_seconds, step)

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        """Losses, scores and gates of an epoch; NaN, a score with no truth, is left out."""
        for name, value in row.items():
            if "/" in name and value == value:
                self._writer.add_scalar(name, value, step)

    def pictures(self, engine: Engine, frames: Sequence[Sample], num_classes: int, max_depth: float, step: int) -> None:
        """The first ``frames``: image, true and predicted depth, its error, true and predicted labels, in two rows."""
        frames = [frames[index] for index in range(min(_FRAMES, len(frames)))]
        depth, classes = engine.predict(torch.stack([frame["image"] for frame in frames]))
        nearest = min(0.5, max_depth / 20)
        for index, frame in enumerate(frames):
            truth = frame["depth"]
            tiles = [frame["image"].mul(255).byte().permute(1, 2, 0).numpy()]
            for metres in (truth, depth[index]):
                tiles.append(colour_depth(metres, min_depth=nearest, max_depth=max_depth))
            error = torch.where(truth > 0, depth[index] - truth, torch.nan)
            tiles.append(colour_error(error, top=max_depth / 5))
            for labels in (frame["labels"], classes[index]) if num_classes else ():
                tiles.append(colour_labels(labels, num_classes))
            half = len(tiles) // 2
            rows = [np.concatenate(row, 1) for row in (tiles[:half], tiles[half:])]
            self._writer.add_image(f"validation/{index}", np.concatenate(rows), step, dataformats="HWC")

    def close(self) -> None:
        self._writer.close()
