"""One run from its first look at the data to its pictures."""

from __future__ import annotations

import math
import signal
import time
from dataclasses import asdict, fields
from datetime import UTC, datetime
from typing import Any

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.utils.data import Subset

import reporting
from depthattn import SynergyNet
from depthattn.data import DataError
from scripting.console import new_console, print_fact, working
from scripting.scores import score_text, score_title
from training import checkpoint
from training.baselines import Baselines, baselines, training_statistics
from training.batches import own_share, plain_loader, training_loader
from training.console import EpochTable, TrainingDisplay
from training.engine import Engine, StepReport
from training.facts import RecordError, expect, row_from_json, row_to_json
from training.identity import check_identity, identity
from training.network import check_batch_norms
from training.optimisation import encoder_rate
from training.provenance import commit, versions
from training.report import draw_contact_sheet, draw_curves, results
from training.run_folder import RunFolder
from training.settings import Settings, command_line
from training.signals import StopRequest
from training.sources import Source, evenly
from training.state import load_weights
from training.tensorboard import TensorBoardLog

_STATISTICS_FRAMES = 2000
_COLUMNS = (
    ("epoch", "epoch", ".0f"),
    ("train/total", "loss", ".3f"),
    ("val/total", "val loss", ".3f"),
    ("val/rmse", "RMSE m", ".3f"),
    ("val/abs_rel", "AbsRel", ".3f"),
    ("val/delta1", "delta1", ".1%"),
    ("val/miou", "mIoU", ".1%"),
    ("val/pixel_accuracy", "pix acc", ".1%"),
    ("seconds", "seconds", ".0f"),
)
_FIRST_COLUMNS = ("epoch", "val/rmse", "val/miou", "train/total", "val/total", "val/abs_rel", "val/delta1")
_BEST_BY = ("val/rmse", "val/miou")
_SHOWN_LOSSES = {"total": "loss", "depth_aware": "depth", "joint_gradient": "gradient", "semantic_focal": "focal"}


class Interrupted(Exception):
    """A signal stopped the run, and its state is saved."""

    def __init__(self, number: signal.Signals, step: int) -> None:
        super().__init__(number, step)
        self.signal = number
        self.step = step


class Run:
    """A run whose inputs are known to be good.

    Args:
        settings: from the command line.
        accelerator: drives device, processes and precision.
        folder: where the run goes.
        source: the frames.
        model: what to train.

    Attributes:
        epoch: the one in progress, counted from 1.
        history: losses, scores and gates of each finished epoch.
    """

    def __init__(
        self, settings: Settings, accelerator: Accelerator, folder: RunFolder, source: Source, model: SynergyNet
    ) -> None:
        self.settings = settings
        self.accelerator = accelerator
        self.folder = folder
        self.source = source
        self.epoch = 1
        self.history: list[dict[str, float]] = []
        self._console = new_console(quiet=not accelerator.is_main_process)
        loader = training_loader(source.train, settings, accelerator)
        check_batch_norms(model, settings, loader.batch_sampler.batch_size)
        self._engine = Engine(settings, accelerator, model, loader, len(source.class_names))
        self._validation = plain_loader(own_share(source.validation, accelerator), settings)
        self._baseline: Baselines
        self._best: dict[str, float] = {}
        self._data: dict[str, dict[str, Any]] = {}
        self._stop = StopRequest(announce=accelerator.is_local_main_process)
        self._tensorboard: TensorBoardLog | None = None

    def start(self) -> None:
        """Say what will be done, measure what it has to beat, and make the folder or go back to where it was left."""
        self._introduce()
        # A slow process must not see the folder of a run that a fast one has begun.
        self.accelerator.wait_for_everyone()
        if self.folder.resumes:
            self._restore()
        else:
            self._baseline = self._measure_baselines()
        if not self.accelerator.is_main_process:
            return
        config = self._config()
        self._data = identity(self.source, self.settings)
        if not self.folder.resumes:
            self.folder.create(config, self.settings)
        if self.settings.tensorboard:
            self._tensorboard = TensorBoardLog(self.folder.tensorboard, step=self._engine.steps)
            facts = {name: config[name] for name in ("command", "data", "device", "versions", "commit")}
            self._tensorboard.settings(facts, config["settings"])

    def train(self) -> None:
        """All epochs that are left, each with its validation and its checkpoint.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
        """
        engine = self._engine
        table = EpochTable(self._console, _COLUMNS, _FIRST_COLUMNS)
        display = TrainingDisplay(
            self._console, self.settings.epochs, engine.steps_per_epoch, enabled=self.accelerator.is_main_process
        )
        with display, self._stop:
            for epoch in range(len(self.history) + 1, self.settings.epochs + 1):
                self.epoch, started = epoch, time.monotonic()
                display.start_epoch(epoch, engine.steps - (epoch - 1) * engine.steps_per_epoch)
                losses = engine.train_epoch(epoch, lambda report: self._after_step(report, display), self._stop)
                display.phase("validation")
                scores = engine.validate(self._validation, self._stop)
                if scores is None:
                    self._save_and_stop()
                row = {
                    "epoch": float(epoch),
                    "step": float(engine.steps),
                    "lr": engine.lr,
                    "seconds": time.monotonic() - started,
                    **{f"train/{name}": value for name, value in losses.items()},
                    **{f"val/{name}": value for name, value in scores.items()},
                    **{f"gate/{name}": float(gate.mean()) for name, gate in engine.scored.gates().items()},
                }
                better = not self._best or self._error(row) < self._error(self._best)
                self._finish_epoch(row, better)
                table.add(row, best=better)

    def leave_group(self) -> None:
        """The rest is work of the main process alone. The others end: they would wait for longer than they may."""
        # PyTorch 2.6 joins the threads of gloo while it holds Python's lock, which work on tensors wants at its end.
        # Work of a barrier does not, and while this one waits for it the work before it ends.
        self.accelerator.wait_for_everyone()
        self.accelerator.end_training()

    def finish(self) -> None:
        """Score of the best checkpoint beside its baselines, and the figures."""
        if not self.accelerator.is_main_process:
            return
        if self._tensorboard is not None:
            self._tensorboard.close()
        best = checkpoint.load(self.folder.best)
        load_weights(self._engine.scored, best.tensors.get("model", {}), "model")
        epoch, scores = _best_epoch(best)
        self.folder.pictures.mkdir(exist_ok=True)
        draw_curves(self.history, self._baseline, self.folder.pictures / "curves.png")
        draw_contact_sheet(
            self._engine,
            self.source.validation,
            self.source.class_names,
            self.settings,
            self.folder.pictures / "contact_sheet.png",
        )
        reached = row_to_json(asdict(self._baseline))
        self.folder.write_results(
            {
                "epoch": epoch,
                "scores": {name: value for name, value in scores.items() if value == value},
                "constant_depth_m": reached["depth"],
                "constant_depth_rmse": reached["rmse"],
                "chance_miou": reached["miou"],
            }
        )
        self._engine.scored.save_pretrained(
            self.folder.model,
            class_names=self.source.class_names or None,
            image_size=self.settings.size,
            notes=_model_notes(self.source.title, epoch, scores),
        )
        self._console.print()
        title = f"Validation, epoch {epoch} (best), {self.settings.size[0]}x{self.settings.size[1]} pixels"
        self._console.print(results(title, scores, self._baseline, self._console.width))
        self._say(f"model       {self.folder.model}")
        self._say(f"pictures    {self.folder.pictures}")
        report = reporting.write_report(
            self.folder.path, self.source, self.settings, self._engine.predict, self._console
        )
        self._say(f"report      {report}")
        if self.settings.nyu is not None:
            self._say(f"test        python examples/evaluate_nyu.py {self.folder.path} --nyu {self.settings.nyu}")

    def _introduce(self) -> None:
        settings, engine = self.settings, self._engine
        parameters = sum(parameter.numel() for parameter in engine.net.parameters()) / 1e6
        channels = " ".join(map(str, settings.decoder_channels))
        processes = self.accelerator.num_processes
        self._say(f"data        {self.source.title}, {settings.size[0]}x{settings.size[1]} pixels")
        for note in self.source.notes:
            self._say(f"            {note}", style="yellow" if note.startswith("warning") else None)
        self._say(f"network     SynergyNet({settings.encoder}, decoders {channels}), {parameters:.1f} M parameters")
        self._say(
            f"training    {settings.epochs} epoch{'s' * (settings.epochs > 1)} of {engine.steps_per_epoch} "
            f"step{'s' * (engine.steps_per_epoch > 1)}, "
            f"{processes if processes > 1 else 'one'} process{'es' * (processes > 1)}, "
            f"batch {engine.batches.frames_per_step}, AdamW up to lr {settings.lr:g}, encoder "
            f"{encoder_rate(settings):g}, {f'weights averaged by {settings.ema:g}, ' * bool(settings.ema)}"
            f"seed {settings.seed}"
        )
        self._say(f"loss        {_loss_in_words(settings)}, attention up to {settings.max_depth:g} m")
        self._say(f"augmented   by zoom up to {settings.max_scale:g}, flips and colour {settings.jitter:g}")
        compiled = ", compiled" * settings.compile
        self._say(f"device      {self.accelerator.device}, precision {settings.precision}{compiled}")

    def _measure_baselines(self) -> Baselines:
        measured: list[Baselines | None] = [None]
        if self.accelerator.is_main_process:
            with working(self._console, "looking at the data"):
                plain = self.source.train_plain
                sample = Subset(plain, evenly(len(plain), _STATISTICS_FRAMES))
                statistics = training_statistics(
                    plain_loader(sample, self.settings), len(self.source.class_names), self.settings.max_depth
                )
                if not (statistics.depth > 0 or statistics.class_counts.any()):
                    raise DataError(
                        f"{self.source.title}: expected a depth above 0 or a label below "
                        f"{len(self.source.class_names)} "
                        f"to learn from, got none in {len(sample)} frame{'s' * (len(sample) > 1)}"
                    )
                validation = plain_loader(self.source.validation, self.settings)
                reached = baselines(statistics, validation, self.settings.max_depth)
                if not (math.isfinite(reached.rmse) or math.isfinite(reached.miou)):
                    count = len(self.source.validation)
                    raise DataError(
                        f"{self.source.title}: expected a depth or a label to score by, of what the training frames "
                        f"have too, got none in {count} validation frame{'s' * (count > 1)}"
                    )
                measured = [reached]
        (baseline,) = broadcast_object_list(measured)
        return baseline

    def _restore(self) -> None:
        if self.accelerator.is_main_process:
            for folder in (self.folder.last, self.folder.best):
                if folder.exists() or checkpoint.previous(folder).exists():
                    _, trouble = checkpoint.recover(folder)
                    if trouble:
                        self._say(f"damaged     {trouble}; the checkpoint before it is used", style="yellow")
        self.accelerator.wait_for_everyone()
        saved = checkpoint.load(self.folder.last)
        expect(saved.info, {"data": dict}, saved.path)
        check_identity(saved.info["data"], self.source, self.settings, saved.path)
        self._engine.restore(saved)
        self._restore_scores(saved)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            if self.history:
                _best_epoch(checkpoint.load(self.folder.best))
            self.folder.write_metrics(self.history)
            self.folder.write_settings(self.settings)
        self._say(f"resumed     after step {self._engine.steps}, from {self.folder.last}")

    def _restore_scores(self, saved: checkpoint.Checkpoint) -> None:
        """What was known besides the engine's state; a run must not find at its end that it cannot be used."""
        path, info = saved.path, saved.info
        expect(info, {"baseline": dict, "history": list}, path)
        names = [field.name for field in fields(Baselines)]
        baseline = row_from_json(info["baseline"], names, f"{path}, baseline")
        self._baseline = Baselines(**{name: baseline[name] for name in names})
        keys = ("epoch", *_BEST_BY)
        self.history = [row_from_json(row, keys, f"{path}, history {n}") for n, row in enumerate(info["history"], 1)]
        self._best = next((row for row in self.history if row["epoch"] == info.get("best_epoch")), {})
        length, done = self._engine.steps_per_epoch, len(self.history)
        if not done * length <= self._engine.steps <= (done + 1) * length:
            raise RecordError(
                f"{path}: expected a step of epoch {done + 1}, of {length} steps each, got step {self._engine.steps}"
            )

    def _after_step(self, report: StepReport, display: TrainingDisplay) -> None:
        engine = self._engine
        shown = {short: report.losses[name] for name, short in _SHOWN_LOSSES.items() if name in report.losses}
        display.step(shown, report.images, report.data_seconds)
        if self._tensorboard is not None and report.read:
            self._tensorboard.step(report, engine.steps, engine.lr)
        if report.stop:
            self._save_and_stop()
        every = self.settings.checkpoint_every
        # The last step of an epoch is saved with the scores of the epoch.
        if every and engine.steps % every == 0 and engine.steps % engine.steps_per_epoch:
            self._save()

    def _finish_epoch(self, row: dict[str, float], better: bool) -> None:
        self.history.append(row)
        if better:
            self._best = row
        self._save(best=better)
        if self.accelerator.is_main_process:
            self.folder.write_metrics(self.history)
        if self._tensorboard is not None:
            engine = self._engine
            self._tensorboard.epoch(row, engine.steps)
            self._tensorboard.pictures(
                engine, self.source.validation, len(self.source.class_names), self.settings.max_depth, engine.steps
            )

    def _error(self, row: dict[str, float]) -> float:
        """What the best epoch has least of: the RMSE, or without true depth what the mIoU lacks."""
        rmse, miou = (row[name] for name in _BEST_BY)
        return rmse if math.isfinite(rmse) else 1.0 - miou

    def _save(self, *, best: bool = False) -> None:
        """Write the state of this moment, and with ``best`` the weights of it; all processes take part."""
        tensors, progress = self._engine.tensors(), self._engine.progress()
        if not self.accelerator.is_main_process:
            return
        facts = {
            "model": self._engine.net.config,
            "class_names": list(self.source.class_names),
            "epoch": self.epoch,
            "step": self._engine.steps,
        }
        if best:
            weights = {"model": self._engine.scored.state_dict()}
            checkpoint.save(self.folder.best, weights, {**facts, "metrics": row_to_json(self.history[-1])})
        state = {
            "progress": progress,
            "data": self._data,
            "history": [row_to_json(row) for row in self.history],
            "best_epoch": self._best.get("epoch"),
            "baseline": row_to_json(asdict(self._baseline)),
        }
        checkpoint.save(self.folder.last, tensors, {**facts, **state})

    def _save_and_stop(self) -> None:
        self._save()
        # Another process may be the one that got the signal.
        raise Interrupted(self._stop.signal or signal.SIGTERM, self._engine.steps)

    def _config(self) -> dict[str, Any]:
        return {
            "command": command_line(),
            "started": datetime.now(UTC).isoformat(sep=" ", timespec="seconds"),
            "settings": self.settings.as_json(),
            "data": self.source.title,
            "class_names": list(self.source.class_names),
            "model": self._engine.net.config,
            "device": str(self.accelerator.device),
            "processes": self.accelerator.num_processes,
            "frames_per_step": self._engine.batches.frames_per_step,
            "versions": versions(),
            "commit": commit(),
        }

    def _say(self, text: str, style: str | None = None) -> None:
        print_fact(self._console, text, style)


def _loss_in_words(settings: Settings) -> str:
    names = ("depth-aware", "joint gradient", "semantic focal")
    if isinstance(settings.loss_weights, str):
        return f"{', '.join(names)} with learned weights"
    return " + ".join(f"{weight:g} {name}" for weight, name in zip(settings.loss_weights, names, strict=True))


def _model_notes(data: str, epoch: int, scores: dict[str, float]) -> str:
    """What the model card says of the training."""
    rows = [f"| {score_title(name)} | {score_text(name, value)} |" for name, value in scores.items() if value == value]
    heading = f"Trained by `examples/train_nyu.py` on: {data}. Scores on its validation frames after epoch {epoch}:"
    return "\n".join([heading, "", "| score | value |", "| --- | ---: |", *rows])


def _best_epoch(best: checkpoint.Checkpoint) -> tuple[int, dict[str, float]]:
    """The epoch that the best checkpoint is of, and its scores."""
    expect(best.info, {"epoch": int, "metrics": dict}, best.path)
    row = row_from_json(best.info["metrics"], _BEST_BY, f"{best.path}, metrics")
    return best.info["epoch"], {key.removeprefix("val/"): row[key] for key in row if key.startswith("val/")}
