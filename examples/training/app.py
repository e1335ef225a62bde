"""One run from the command line to the pictures."""

from __future__ import annotations

import math
import platform
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any, NoReturn

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from rich.console import Console
from torch.utils.data import Subset

import depthattn
import reporting
from depthattn.data import DataError
from training import checkpoint
from training.baselines import Baselines, baselines, training_statistics
from training.console import EpochTable, TrainingDisplay
from training.engine import Engine, TrainingStopped, build_loader, build_model, own_share
from training.report import draw_contact_sheet, draw_curves, results
from training.run_folder import RunFolder
from training.settings import PROGRAM, Settings, command_line, parse
from training.sources import Source, evenly, open_source

_STATISTICS_FRAMES = 2000
_COLUMNS = (
    ("epoch", "epoch", ".0f"),
    ("train/total", "loss", ".3f"),
    ("val/total", "val loss", ".3f"),
    ("val/rms", "rms m", ".3f"),
    ("val/rel", "rel", ".3f"),
    ("val/delta1", "d<1.25", ".1%"),
    ("val/miou", "mIoU", ".1%"),
    ("val/pixel_accuracy", "pix acc", ".1%"),
    ("seconds", "seconds", ".0f"),
)
_SHOWN_LOSSES = {"total": "loss", "depth_aware": "DA", "joint_gradient": "JG", "semantic_focal": "semF"}

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Train as the command line says; returns the exit status."""
    settings = parse(argv)
    try:
        # Said outright, as torchrun on a machine without accelerators would otherwise start unconnected processes.
        cpu = not torch.accelerator.is_available()
        accelerator = Accelerator(mixed_precision=settings.precision, cpu=cpu)
        set_seed(settings.seed)
        folder = RunFolder(settings.output, overwrite=settings.overwrite)
        source = open_source(settings)
        model = build_model(settings, len(source.class_names))
        run = Run(settings, accelerator, folder, source, model)
    except (ValueError, TypeError, ImportError, OSError) as error:
        _fail(error, BAD_INPUT)
    try:
        run.start()
        run.train()
        run.finish()
    except KeyboardInterrupt:
        folder.discard_if_empty()
        kept = f"the last checkpoint is {folder.last}" if folder.last.exists() else "nothing is kept"
        print(f"{PROGRAM}: interrupted in epoch {run.epoch}; {kept}", file=sys.stderr)
        return INTERRUPTED
    except DataError as error:
        folder.discard_if_empty()
        _fail(error, BAD_INPUT)
    except (TrainingStopped, checkpoint.CheckpointError, OSError) as error:
        folder.discard_if_empty()
        _fail(error, FAILED, f"; the last checkpoint is {folder.last}" if folder.last.exists() else "")
    return 0


class Run:
    """A run whose inputs are known to be good.

    Args:
        settings: from the command line.
        accelerator: drives device, processes and precision.
        folder: where the run goes.
        source: the frames.
        model: what to train.
    """

    def __init__(
        self, settings: Settings, accelerator: Accelerator, folder: RunFolder, source: Source, model: Any
    ) -> None:
        self.settings = settings
        self.accelerator = accelerator
        self.folder = folder
        self.source = source
        self.epoch = 1
        self.history: list[dict[str, float]] = []
        self._console = Console(highlight=False, quiet=not accelerator.is_main_process)
        frames = len(source.train)
        batch_size = min(settings.batch_size, max(1, frames // accelerator.num_processes))
        loader = build_loader(source.train, settings, batch_size=batch_size, shuffle=True)
        self._engine = Engine(settings, accelerator, model, loader, len(source.class_names))
        share = own_share(source.validation, accelerator)
        self._validation = build_loader(share, settings, batch_size=settings.batch_size)
        self._baseline: Baselines
        self._best: dict[str, float] = {}

    def start(self) -> None:
        """Say what will be done, measure what it has to beat, and make the folder."""
        self._introduce()
        # Weights are the same in every process by now; augmentation must not be.
        set_seed(self.settings.seed, device_specific=True)
        with self._console.status("looking at the data"):
            self._baseline = self._measure_baselines()
        if self.accelerator.is_main_process:
            self.folder.create(self._config())

    def train(self) -> None:
        """All epochs, each with its validation and its checkpoint."""
        table = EpochTable(self._console, _COLUMNS)
        display = TrainingDisplay(
            self._console, self.settings.epochs, len(self._engine.loader), enabled=self.accelerator.is_main_process
        )
        with display:
            for epoch in range(1, self.settings.epochs + 1):
                self.epoch, started = epoch, time.monotonic()
                display.start_epoch(self.epoch)
                losses = self._engine.train_epoch(
                    lambda values, images: display.step(
                        {short: values[name] for name, short in _SHOWN_LOSSES.items() if name in values}, images
                    )
                )
                display.phase("validation")
                scores = self._engine.validate(self._validation)
                row = {
                    "epoch": float(self.epoch),
                    "step": float(self._engine.steps),
                    "lr": self._engine.lr,
                    "seconds": time.monotonic() - started,
                    **{f"train/{name}": value for name, value in losses.items()},
                    **{f"val/{name}": value for name, value in scores.items()},
                    **{f"gate/{name}": float(gate.mean()) for name, gate in self._engine.net.gates().items()},
                }
                self.history.append(row)
                better = not self._best or self._error(row) < self._error(self._best)
                if better:
                    self._best = row
                if self.accelerator.is_main_process:
                    self._save(row, better)
                table.add(row, best=better)

    def finish(self) -> None:
        """Score of the best checkpoint beside its references, and the pictures."""
        if not self.accelerator.is_main_process:
            return
        best = checkpoint.load(self.folder.best)
        self._engine.net.load_state_dict(best.tensors["model"])
        scores = {key.removeprefix("val/"): value for key, value in self._best.items() if key.startswith("val/")}
        self.folder.pictures.mkdir(exist_ok=True)
        draw_curves(self.history, self._baseline, self.folder.pictures / "curves.png")
        draw_contact_sheet(
            self._engine,
            self.source.validation,
            self.source.class_names,
            self.settings,
            self.folder.pictures / "contact_sheet.png",
        )
        epoch = int(self._best["epoch"])
        self.folder.write_results(
            {
                "epoch": epoch,
                "scores": {name: value for name, value in scores.items() if value == value},
                "constant_depth_m": _number(self._baseline.depth),
                "constant_depth_rms": _number(self._baseline.rms),
                "chance_miou": _number(self._baseline.miou),
            }
        )
        self._console.print()
        title = f"Validation, epoch {epoch} (best), {self.settings.size[0]}x{self.settings.size[1]} pixels"
        self._console.print(results(title, scores, self._baseline))
        self._say(f"checkpoint  {self.folder.best}")
        self._say(f"pictures    {self.folder.pictures}")
        report = reporting.write_report(
            self.folder.path, self.source, self.settings, self._engine.predict, self._console
        )
        self._say(f"report      {report}")

    def _introduce(self) -> None:
        settings, net = self.settings, self._engine.net
        parameters = sum(parameter.numel() for parameter in net.parameters()) / 1e6
        channels = " ".join(map(str, settings.decoder_channels))
        processes = self.accelerator.num_processes
        self._say(f"data        {self.source.title}, {settings.size[0]}x{settings.size[1]} pixels")
        self._say(f"network     SynergyNet({settings.encoder}, decoders {channels}), {parameters:.1f} M parameters")
        self._say(
            f"training    {settings.epochs} epochs of {len(self._engine.loader)} steps, "
            f"{processes if processes > 1 else 'one'} process{'es' * (processes > 1)}, "
            f"batch {self._engine.loader.total_batch_size}, AdamW up to lr {settings.lr:g}, seed {settings.seed}"
        )
        self._say(f"loss        {_loss_in_words(settings)}, attention up to {settings.max_depth:g} m")
        self._say(f"augmented   by zoom up to {settings.max_scale:g}, flips and colour {settings.jitter:g}")
        self._say(f"device      {self.accelerator.device}, precision {settings.precision}")

    def _measure_baselines(self) -> Baselines:
        plain = self.source.train_plain
        sample = Subset(plain, evenly(len(plain), _STATISTICS_FRAMES))
        settings = self.settings
        training = build_loader(sample, settings, batch_size=settings.batch_size)
        statistics = training_statistics(training, len(self.source.class_names), settings.max_depth)
        validation = build_loader(self.source.validation, settings, batch_size=settings.batch_size)
        return baselines(statistics, validation, settings.max_depth)

    def _error(self, row: dict[str, float]) -> float:
        """What the best epoch has least of: both tasks in one number without a unit, or the task that has truth."""
        parts = [row["val/rms"] / self._baseline.rms, 1.0 - row["val/miou"]]
        return sum(part for part in parts if math.isfinite(part))

    def _save(self, row: dict[str, float], better: bool) -> None:
        state = {"model": self._engine.net.state_dict()}
        info = {
            "model": self._engine.net.config,
            "class_names": list(self.source.class_names),
            "epoch": self.epoch,
            "step": self._engine.steps,
            "metrics": {key: _number(value) for key, value in row.items()},
        }
        if better:
            checkpoint.save(self.folder.best, state, info)
        checkpoint.save(self.folder.last, state, info)
        self.folder.append_metrics(row)

    def _config(self) -> dict[str, Any]:
        packages = ("torch", "numpy", "accelerate", "torchmetrics", "safetensors")
        return {
            "command": command_line(),
            "settings": self.settings.as_json(),
            "data": self.source.title,
            "class_names": list(self.source.class_names),
            "model": self._engine.net.config,
            "device": str(self.accelerator.device),
            "processes": self.accelerator.num_processes,
            "versions": {
                "depthattn": depthattn.__version__,
                "python": platform.python_version(),
                **{name: version(name) for name in packages},
            },
        }

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _loss_in_words(settings: Settings) -> str:
    names = ("depth-aware", "joint gradient", "semantic focal")
    if isinstance(settings.loss_weights, str):
        return f"{', '.join(names)} with learned weights"
    return " + ".join(f"{weight:g} {name}" for weight, name in zip(settings.loss_weights, names, strict=True))


def _number(value: float) -> float | None:
    # JSON has no NaN.
    return value if value == value else None


def _fail(error: Exception, status: int, more: str = "") -> NoReturn:
    # A DataLoader worker sends its traceback as the message; the error's own text is the end of it.
    text = str(error).strip().rsplit("DataError: ", 1)[-1]
    print(f"{PROGRAM}: error: {' '.join(text.split())}{more}", file=sys.stderr)
    raise SystemExit(status)
