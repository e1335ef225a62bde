"""The TensorBoard log of a run: losses and scores of epochs, losses of steps, gates, settings, and a few frames.

TensorBoard shows groups of charts in the order of the alphabet, so the names of the groups follow what matters most:
``loss``, ``score``, ``step``, ``unit_gates``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw

from depthattn._extras import require
from depthattn.data import Sample
from depthattn.viz import colour_depth, colour_error, colour_labels
from scripting.failures import one_line
from scripting.messages import warn_once
from training.engine import LOSSES, Engine, StepReport

_FRAMES = 3
_SHOWN_SCORES = ("score/rmse", "score/abs_rel", "score/delta1", "score/miou", "score/pixel_accuracy")
# Seconds between writes to disk.
_FLUSH = 10
# Pixels of the line above an image, and of the least width that its words need.
_TITLE_HEIGHT, _TITLE_WIDTH = 14, 150


class TensorBoardLog:
    """Writes scalars, pictures and settings. Where that fails, the log ends and the run goes on.

    Args:
        folder: of the event files.
        step: the step the run is at; what an earlier part of it logged beyond is hidden.

    Raises:
        ImportError: tensorboard is not installed.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        require("tensorboard", extra="train", purpose="the TensorBoard log (see --no-tensorboard)")
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = None
        try:
            self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None, flush_secs=_FLUSH)
        except (OSError, UnicodeEncodeError) as error:
            # TensorBoard takes no name of a folder that is no text.
            self._end(error)

    def settings(self, facts: Mapping[str, Any], settings: Mapping[str, Any]) -> None:
        """What the run is, as a text, and its ``settings`` as what TensorBoard compares runs by."""
        from torch.utils.tensorboard.summary import hparams

        rows = [f"| {name} | {value} |" for name, value in {**facts, **settings}.items() if value is not None]
        table = "\n".join(["| setting | value |", "| --- | --- |", *rows])
        values = {
            name: value if isinstance(value, (bool, int, float)) else _words(value)
            for name, value in settings.items()
            if value is not None
        }
        experiment, start, _ = hparams(values, dict.fromkeys(_SHOWN_SCORES, 0.0))

        def write(writer: Any) -> None:
            writer.add_text("configuration", table.encode("utf-8", "backslashreplace").decode("utf-8"))
            for summary in (experiment, start):
                writer.file_writer.add_summary(summary)

        self._write(write)

    def step(self, report: StepReport, step: int, lr: float) -> None:
        """Losses, gradient, rate and wait for data of a step."""
        values = {**report.losses, "gradient": report.gradient, "lr": lr, "data_seconds": report.data_seconds}
        self._scalars({f"step/{name}": value for name, value in values.items()}, step)

    def epoch(self, row: Mapping[str, float], step: int) -> None:
        """Losses, scores and gates of an epoch; NaN, a score with no ground truth, is left out."""
        values = {_tag(name): value for name, value in row.items() if "/" in name and value == value}
        self._scalars(values, step)

    def pictures(self, engine: Engine, frames: Sequence[Sample], num_classes: int, max_depth: float, step: int) -> None:
        """The first ``frames``: image, true and predicted depth, its error, true and predicted labels, in two rows."""
        frames = [frames[index] for index in range(min(_FRAMES, len(frames)))]
        depth, classes = engine.predict(torch.stack([frame["image"] for frame in frames]))
        nearest, largest = min(0.5, max_depth / 20), max_depth / 5
        for index, frame in enumerate(frames):
            truth = frame["depth"]
            error = torch.where(truth > 0, depth[index] - truth, torch.nan)
            tiles = {"image": frame["image"].mul(255).byte().permute(1, 2, 0).numpy()}
            for name, metres in (("true", truth), ("predicted", depth[index])):
                title = f"{name} depth, {nearest:g}-{max_depth:g} m"
                tiles[title] = colour_depth(metres, min_depth=nearest, max_depth=max_depth)
            tiles[f"depth error, +-{largest:g} m"] = colour_error(error, top=largest)
            if num_classes:
                tiles["true labels"] = colour_labels(frame["labels"], num_classes)
                tiles["predicted labels"] = colour_labels(classes[index], num_classes)
            titled = [_titled(name, pixels) for name, pixels in tiles.items()]
            half = len(titled) // 2
            picture = np.concatenate([np.concatenate(row, 1) for row in (titled[:half], titled[half:])])
            self._write(_image(f"validation/frame {index}", picture, step))

    def close(self) -> None:
        self._write(lambda writer: writer.close())

    def _scalars(self, values: Mapping[str, float], step: int) -> None:
        def write(writer: Any) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        self._write(write)

    def _write(self, write: Callable[[Any], None]) -> None:
        if self._writer is None:
            return
        try:
            write(self._writer)
        except OSError as error:
            self._end(error)

    def _end(self, error: Exception) -> None:
        self._writer = None
        warn_once("tensorboard", f"the TensorBoard log ends here, and the run goes on: {one_line(error)}")


def _image(name: str, pixels: npt.NDArray[np.uint8], step: int) -> Callable[[Any], None]:
    return lambda writer: writer.add_image(name, pixels, step, dataformats="HWC")


def _tag(name: str) -> str:
    """Where TensorBoard shows a column of metrics.jsonl: ``val/rmse`` under ``score/rmse``."""
    group, _, rest = name.partition("/")
    if group == "gate":
        return f"unit_gates/{rest}"
    return f"loss/{group}_{rest}" if rest in LOSSES else f"score/{rest}"


def _words(value: Any) -> str:
    text = " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _titled(title: str, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """An image under its title, whole times as large where it is narrower than the words."""
    times = -(-_TITLE_WIDTH // pixels.shape[1])
    pixels = pixels.repeat(times, 0).repeat(times, 1)
    strip = Image.new("RGB", (pixels.shape[1], _TITLE_HEIGHT), "white")
    ImageDraw.Draw(strip).text((2, 1), title, fill="black")
    return np.concatenate([np.asarray(strip), pixels])
