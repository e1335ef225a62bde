"""A trained SynergyNet as a folder: config.json, model.safetensors and a model card."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from depthattn._extras import require
from depthattn._messages import reason_of
from depthattn._version import __version__
from depthattn.models.model_card import CARD, is_ours, model_card
from depthattn.models.network import NetworkT, SynergyNetwork
from depthattn.models.weights import mismatches
from depthattn.ops import checks

CONFIG, WEIGHTS = "config.json", "model.safetensors"

_SAVE, _LOAD = "SynergyNet.save_pretrained", "SynergyNet.from_pretrained"
_FORMAT = "depthattn.SynergyNet/1"
_KEYS = {"format", "depthattn_version", "model", "class_names", "image_size", "weights"}
_MODEL_KEYS = {
    "encoder", "num_classes", "decoder_channels", "sharing", "up_skip", "encoder_skips", "upsample_semantics",
    "output_stride"
}  # fmt: skip
# What folders of before these arguments mean by their absence.
_MODEL_DEFAULTS = {"encoder_skips": False, "output_stride": 32}
# A plain name: what timm would look for in a folder or on a server has a colon in it.
_ENCODER = re.compile(r"(timm:)?[\w.-]+")
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")


def save(
    model: SynergyNetwork,
    folder: str | os.PathLike[str],
    class_names: Sequence[str] | None,
    image_size: tuple[int, int] | None,
    notes: str | None,
) -> None:
    """Write ``model`` to ``folder``; see :meth:`SynergyNet.save_pretrained`."""
    folder = Path(folder)
    names = model.class_names if class_names is None else class_names
    size = model.image_size if image_size is None else image_size
    _check_names(_SAVE, names, model.num_classes)
    if size is not None:
        checks.image_size(_SAVE, size)
    if isinstance(model.neck[1], nn.Identity):
        raise ValueError(f"{_SAVE}: expected the model that was trained, got its optimize_for_inference() copy")
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{_SAVE}: expected a folder, got the file {folder}")
    safetensors = require("safetensors.torch", extra="hub", purpose=_SAVE)
    # Copies: safetensors takes neither channels-last tensors nor two that share memory.
    weights: bytes = safetensors.save(
        {
            name: tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
            for name, tensor in model.state_dict().items()
        },
        metadata={"format": "pt"},
    )
    config = {
        "format": _FORMAT,
        "depthattn_version": __version__,
        "model": model.config,
        "class_names": list(names) or None,
        "image_size": None if size is None else list(size),
        "weights": {"bytes": len(weights), "sha256": hashlib.sha256(weights).hexdigest()},
    }
    files = {
        WEIGHTS: weights,
        CONFIG: (json.dumps(config, indent=2) + "\n").encode(),
        CARD: model_card(model, names, size, notes).encode(),
    }
    _write(folder, files)


def _write(folder: Path, files: Mapping[str, bytes]) -> None:
    """All files at once where the folder is new; else one by one, each whole, and a card that is not ours stays."""
    exists = folder.is_dir()
    home = folder if exists else folder.absolute().parent
    home.mkdir(parents=True, exist_ok=True)
    # On the disk of the folder itself, so that a rename is enough.
    with tempfile.TemporaryDirectory(dir=home, prefix=f".{folder.name}.") as scratch:
        written = Path(scratch, "written")
        written.mkdir()
        for name, content in files.items():
            with (written / name).open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
        if not exists:
            os.replace(written, folder)
            return
        for name in files:
            if name != CARD or not (folder / CARD).exists() or is_ours((folder / CARD).read_bytes()):
                os.replace(written / name, folder / name)


def load(
    build: type[NetworkT],
    source: str | os.PathLike[str],
    encoder: nn.Module | None,
    revision: str | None,
) -> NetworkT:
    """Build the model of a folder or of the hub; see :meth:`SynergyNet.from_pretrained`."""
    if Path(source).is_dir():
        if revision is not None:
            raise ValueError(f"{_LOAD}: expected revision with a hub id only, got it with the folder {source}")
        folder = Path(source)
    else:
        folder = _download(source, revision)
    config = _read_config(folder / CONFIG)
    arguments = dict(config["model"])
    if encoder is not None:
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"{_LOAD}: expected encoder as a Module, got {type(encoder).__name__}")
        if arguments["encoder"] is not None:
            raise ValueError(
                f"{_LOAD}: expected no encoder, as {folder / CONFIG} names its own, {arguments['encoder']!r}"
            )
        arguments["encoder"] = encoder
    elif arguments["encoder"] is None:
        raise ValueError(
            f"{_LOAD}: {folder} was saved from an encoder given as a module, which no file describes; "
            "pass such a module as encoder="
        )
    tensors = _read_weights(folder / WEIGHTS, config["weights"])
    try:
        model = assemble(build, arguments, tensors)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{_LOAD}: {folder / CONFIG}: {error}") from error
    model.class_names = tuple(config["class_names"] or ())
    model.image_size = None if config["image_size"] is None else tuple(config["image_size"])
    return model.eval()


def assemble(build: type[NetworkT], arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> NetworkT:
    """The model that ``arguments``, read from a file, describe, with the weights ``tensors``.

    Raises:
        ValueError, TypeError: the arguments build no model, or one with other weights.
    """
    encoder = arguments.get("encoder")
    if isinstance(encoder, str) and not _ENCODER.fullmatch(encoder):
        raise ValueError(f"expected the name of an encoder, got {encoder!r}")
    unknown = arguments.keys() - _MODEL_KEYS
    if unknown:
        raise ValueError(f"expected the arguments of a model, {', '.join(sorted(_MODEL_KEYS))}, got {sorted(unknown)}")
    _check_widths(arguments, tensors)
    model = build(**arguments)
    problems = mismatches(tensors, model.state_dict())
    if problems:
        raise ValueError(f"expected the weights of this model, got {problems}")
    model.load_state_dict(tensors)
    return model


def _check_widths(arguments: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuse a model that has more weights than there are before it is built, which could take all memory."""
    widths = arguments.get("decoder_channels")
    channels = [*(widths if isinstance(widths, list) else []), arguments.get("num_classes")]
    found = sum(tensor.numel() for tensor in tensors.values())
    # Every level has 3x3 kernels from its channels to as many, the last one such to the classes.
    for before, after in pairwise(channels):
        if isinstance(before, int) and isinstance(after, int) and 9 * before * max(before, after) > found:
            raise ValueError(
                f"expected the weights of decoder_channels {widths} and {channels[-1]} classes, got {found}"
            )


def _download(source: str | os.PathLike[str], revision: str | None) -> Path:
    if not isinstance(source, str) or not _HUB_ID.fullmatch(source):
        raise ValueError(
            f"{_LOAD}: expected a folder or a hub id owner/name, got {os.fspath(source)!r}, which is neither"
        )
    hub = require("huggingface_hub", extra="hub", purpose=f"{_LOAD}: {source!r} is no folder; taken as a hub id, it")
    try:
        return Path(hub.snapshot_download(source, revision=revision, allow_patterns=[CONFIG, WEIGHTS]))
    except (OSError, ValueError) as error:
        # Its messages go on for a paragraph.
        reason = reason_of(error)[:300]
        raise ValueError(
            f"{_LOAD}: expected a folder or a hub id, got {source!r}: no such folder, and huggingface_hub says: "
            f"{reason}"
        ) from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{_LOAD}: expected {path}, as save_pretrained writes it, got no such file") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{_LOAD}: expected JSON in {path}, got {error}") from error
    _check_keys(path, config, _KEYS)
    if config["format"] != _FORMAT:
        raise ValueError(
            f"{_LOAD}: expected format {_FORMAT} in {path}, got {config['format']!r}; this is depthattn {__version__}"
        )
    if isinstance(config["model"], dict):
        config["model"] = {**_MODEL_DEFAULTS, **config["model"]}
    model = config["model"]
    _check_keys(path, model, _MODEL_KEYS, "model: ")
    encoder, widths = model["encoder"], model["decoder_channels"]
    if encoder is not None and not isinstance(encoder, str):
        raise ValueError(f"{_LOAD}: {path}: expected the name of an encoder, got {encoder!r}")
    if not isinstance(widths, list):
        raise ValueError(f"{_LOAD}: {path}: expected decoder_channels as a list, got {widths!r}")
    names, size = config["class_names"], config["image_size"]
    if names is not None:
        if not isinstance(names, list):
            raise ValueError(f"{_LOAD}: {path}: expected class_names as a list or null, got {names!r}")
        _check_names(f"{_LOAD}: {path}", names, model["num_classes"])
    if size is not None and not (isinstance(size, list) and [type(side) for side in size] == [int, int]):
        raise ValueError(f"{_LOAD}: {path}: expected image_size as [H, W] or null, got {size!r}")
    _check_keys(path, config["weights"], {"bytes", "sha256"}, "weights: ")
    if not isinstance(config["weights"]["bytes"], int):
        raise ValueError(f"{_LOAD}: {path}: weights: expected bytes as a number, got {config['weights']['bytes']!r}")
    return config


def _check_keys(path: Path, value: object, wanted: set[str], where: str = "") -> None:
    if not isinstance(value, dict) or set(value) != wanted:
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise ValueError(
            f"{_LOAD}: {path}: {where}expected the keys of save_pretrained, {', '.join(sorted(wanted))}, got {found}"
        )


def _check_names(function: str, names: Sequence[str], num_classes: int) -> None:
    # An empty sequence stands for no names.
    if isinstance(names, str) or not all(isinstance(name, str) and name.isprintable() and name for name in names):
        raise ValueError(f"{function}: expected class_names as strings of one line each, got {names!r}")
    if names and len(names) != num_classes:
        raise ValueError(f"{function}: expected {num_classes} class_names, one for each class, got {len(names)}")


def _read_weights(path: Path, facts: Mapping[str, Any]) -> dict[str, Tensor]:
    safetensors = require("safetensors.torch", extra="hub", purpose=_LOAD)
    damage = require("safetensors", extra="hub", purpose=_LOAD).SafetensorError
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ValueError(f"{_LOAD}: expected {path}, as save_pretrained writes it, got no such file") from error
    if len(content) != facts["bytes"] or hashlib.sha256(content).hexdigest() != facts["sha256"]:
        raise ValueError(
            f"{_LOAD}: expected the {facts['bytes']} bytes of {path} that {CONFIG} lists, got {len(content)} bytes of "
            "other content: damaged, or of another save"
        )
    try:
        tensors: dict[str, Tensor] = safetensors.load(content)
    except damage as error:
        reason = reason_of(error)
        raise ValueError(f"{_LOAD}: expected a safetensors file, got {path}: {reason}") from error
    return tensors
