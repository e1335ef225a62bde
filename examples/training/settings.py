"""The settings of a run, from the command line, a file of options, and the run that is to go on."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from scripting.command_line import Parser
from training.arguments import build_parser
from training.config_file import read_options, write_options

OPTIONS_FILE = "config.yaml"

# Of the depth-aware, the joint gradient and the semantic focal loss. At weight 1 the gradient of the second is six to
# nine times that of the first, and its term on labels makes edges worse at any weight (docs/evidence.md). Pages and
# recipes do the same.
LOSS_WEIGHTS = (1.0, 0.05, 1.0)
SEMANTIC_WEIGHT = 0.0

# The encoders halve the image five times.
_SMALLEST = 32

# What may differ between a run and its continuation without another result. How a step's frames are split up is
# checked where their number is known. The data are known by what they are, not by where, and the weights by the
# checkpoint: no path is compared.
_FREE_ON_RESUME = frozenset(
    {"overwrite", "resume", "workers", "batch_size", "accumulate", "checkpoint_every", "tensorboard"}
)

# Options that say more of another.
_NEEDS = {
    "splits": "nyu",
    "val_list": "list",
    "root": "list",
    "val_root": "val_list",
    "val_depth_scale": "val_list",
    "val_folder": "folder",
    "layout": "folder",
}


def _cores() -> int:
    """Those that this process may use, which in a container can be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True)
class Defaults:
    """What depends on whether the data are synthetic."""

    decoder_channels: tuple[int, ...]
    encoder_skips: bool
    size: tuple[int, int]
    epochs: int
    lr: float
    encoder_share: float
    ema: float
    train_frames: int | None
    val_frames: int | None
    max_scale: float
    jitter: float
    workers: int


SYNTHETIC = Defaults(
    decoder_channels=(64, 32, 16, 16),
    encoder_skips=True,
    size=(96, 128),
    epochs=3,
    lr=2e-3,
    # Drawn rooms are far from photos, and the steps are few.
    encoder_share=0.5,
    # An average needs more steps than these to be of trained networks alone.
    ema=0.0,
    train_frames=1024,
    val_frames=96,
    max_scale=1.2,
    jitter=0.2,
    workers=0,
)
# Those of the whole training in docs/evidence.md, but for the size, which was that of the frames at hand.
FULL = Defaults(
    decoder_channels=(128, 64, 32, 16),
    encoder_skips=True,
    size=(228, 304),
    epochs=22,
    lr=1e-3,
    # Pretrained weights are to be adapted, not to be learned again.
    encoder_share=0.3,
    ema=0.998,
    train_frames=None,
    val_frames=None,
    max_scale=1.5,
    jitter=0.4,
    workers=min(4, _cores()),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One run, complete. What has no default here has one of :class:`Defaults`."""

    nyu: Path | None = None
    splits: Path | None = None
    classes: int = 40
    depth: str = "raw"
    list: Path | None = None
    val_list: Path | None = None
    root: Path | None = None
    val_root: Path | None = None
    folder: Path | tuple[Path, ...] | None = None
    val_folder: Path | tuple[Path, ...] | None = None
    layout: str | None = None
    hold_out: str | None = None
    num_classes: int | None = None
    ignore_value: int | None = None
    first_label: int | None = None
    depth_scale: float | None = None
    val_depth_scale: float | None = None
    depth_code: str | None = None
    train_frames: int | None
    val_frames: int | None
    size: tuple[int, int]
    max_scale: float
    jitter: float
    encoder: str = "efficientnet_lite0"
    encoder_weights: Path | str | None = "auto"
    decoder_channels: tuple[int, ...]
    sharing: str | None = "scalar"
    up_skip: bool = True
    encoder_skips: bool
    batch_norm: str = "local"
    distance: str = "smooth_l1"
    log_offset: float = 1.0
    max_depth: float = 10.0
    gamma: float = 2.0
    loss_weights: tuple[float, float, float] | str = LOSS_WEIGHTS
    semantic_weight: float = SEMANTIC_WEIGHT
    epochs: int
    batch_size: int = 8
    accumulate: int = 1
    lr: float
    encoder_lr: float | None = None
    encoder_share: float
    ema: float
    weight_decay: float = 1e-2
    precision: str = "no"
    compile: bool = False
    workers: int
    seed: int = 0
    output: Path = Path("runs/train")
    overwrite: bool = False
    resume: bool = False
    checkpoint_every: int | None = None
    tensorboard: bool = True

    @property
    def folders(self) -> tuple[Path, ...]:
        return _paths(self.folder)

    @property
    def val_folders(self) -> tuple[Path, ...]:
        return _paths(self.val_folder)

    def as_json(self) -> dict[str, Any]:
        return {name: _by_path(str, value) for name, value in asdict(self).items()}

    def save_options(self, folder: Path) -> None:
        """Write config.yaml, which ``--config`` and ``--resume`` take."""
        values = {**asdict(self), "output": None, "overwrite": False, "resume": False}
        values["sharing"] = self.sharing or "none"
        values["encoder_weights"] = self.encoder_weights or "none"
        write_options(folder / OPTIONS_FILE, values, build_parser(_both), f"options of: {command_line()}")


_PATHS = frozenset(field.name for field in fields(Settings) if "Path" in str(field.type))


def parse(argv: Sequence[str] | None = None) -> Settings:
    """Read the command line; exits with status 2 and one line where it does not hold together."""
    parser = build_parser(_both)
    given = vars(parser.parse_args(argv))
    config = given.pop("config", None)
    if config is not None:
        given = {**_from_file(config, parser), **given}
    if given.get("resume") and given.get("overwrite"):
        parser.error("expected --resume or --overwrite, got both")
    saved = given.get("output", Settings.output) / OPTIONS_FILE
    if given.get("resume") and saved.is_file():
        given = _continued(parser, _from_file(saved, parser), given)
    return _complete(parser, given)


def _from_file(path: Path, parser: Parser) -> dict[str, Any]:
    try:
        words = read_options(path, parser)
    except ValueError as error:
        parser.error(str(error))
    parser.origin = f"--config {path}: "
    given = vars(parser.parse_args(words))
    parser.origin = ""
    return given


def _continued(parser: Parser, saved: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of the run that is to go on; those given now must not ask for another."""
    before, now = (asdict(_complete(parser, dict(options))) for options in (saved, {**saved, **given}))
    for name, value in now.items():
        wanted = before[name]
        # Whether the encoder began with weights decides how fast it learns.
        begun_otherwise = name == "encoder_weights" and (wanted is None) != (value is None)
        if begun_otherwise or (name not in _FREE_ON_RESUME | _PATHS and wanted != value):
            before_words, now_words = (
                "none" if item is None and name in _PATHS else _text(item) for item in (wanted, value)
            )
            parser.error(
                f"--resume: expected {name.replace('_', '-')} {before_words}, as the run was started, got {now_words}"
            )
    return {**saved, **given}


def _complete(parser: Parser, given: dict[str, Any]) -> Settings:
    """Check what was given together, and fill in the rest."""
    sources = [f"--{name}" for name in ("nyu", "list", "folder") if name in given]
    if len(sources) > 1:
        parser.error(f"expected one data source, got {' and '.join(sources)}")
    for option, source in _NEEDS.items():
        if option in given and source not in given:
            parser.error(f"--{option.replace('_', '-')} goes with --{source.replace('_', '-')}, which is not given")
    for option in ("nyu", "val_list", "val_folder"):
        if "hold_out" in given and option in given:
            parser.error(f"--hold-out: expected no frames for validation, got --{option.replace('_', '-')}")
    if "size" in given and min(given["size"]) < _SMALLEST:
        parser.error(f"--size: expected at least {_SMALLEST} pixels each way, got {' '.join(map(str, given['size']))}")
    for name in ("size", "decoder_channels"):
        if name in given:
            given[name] = tuple(given[name])
    for name in ("folder", "val_folder"):
        if name in given and not isinstance(given[name], Path):
            given[name] = given[name][0] if len(given[name]) == 1 else tuple(given[name])
    # Pretrained weights are those of the encoder that is there by default.
    if "encoder" in given:
        given.setdefault("encoder_weights", None)
    for name in ("sharing", "encoder_weights"):
        if given.get(name) == "none":
            given[name] = None
    if not 0 <= given.get("ema", 0.0) < 1:
        parser.error(f"--ema: expected a number from 0 on and below 1, got {given['ema']:g}")
    if "loss_weights" in given:
        given["loss_weights"] = _loss_weights(parser, given["loss_weights"])
    return Settings(**{**asdict(FULL if sources else SYNTHETIC), **given})


def _paths(value: Path | tuple[Path, ...] | None) -> tuple[Path, ...]:
    return () if value is None else value if isinstance(value, tuple) else (value,)


def _by_path(change: Callable[[Path], Any], value: Any) -> Any:
    """``value`` with ``change`` done to each path that it is or holds."""
    if isinstance(value, tuple):
        return tuple(_by_path(change, item) for item in value)
    return change(value) if isinstance(value, Path) else value


def _loss_weights(parser: Parser, words: Sequence[str]) -> tuple[float, float, float] | str:
    if list(words) == ["learned"]:
        return "learned"
    try:
        first, second, third = (float(word) for word in words)
    except ValueError:
        parser.error(f'--loss-weights: expected three numbers or "learned", got {" ".join(words)!r}')
    return first, second, third


def _both(name: str) -> str:
    return f"({_text(getattr(SYNTHETIC, name))} | {_text(getattr(FULL, name))})"


def _text(value: object) -> str:
    if value is None:
        return "all"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(_text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def command_line() -> str:
    """How the script was called, for the record of the run: one line of text, whatever bytes the names are made of."""
    return shlex.join(sys.argv).replace("\n", "\\n").encode("utf-8", "backslashreplace").decode("utf-8")
