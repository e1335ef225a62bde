"""From an encoder's name, or a module, to an encoder."""

from __future__ import annotations

import importlib
import os
from typing import Any

from torch import nn

from depthattn.models.encoders import Encoder, ModuleEncoder
from depthattn.models.resnet import RESNETS, ResNet
from depthattn.models.weights import load_encoder_weights

_TIMM = "timm:"


def build_encoder(encoder: str | nn.Module, weights: str | os.PathLike[str] | None = None) -> Encoder:
    """Build an encoder and load its weights.

    Args:
        encoder: ``"resnet18"``, ``"resnet34"``, ``"resnet50"``; ``"timm:NAME"`` for a model of timm; or a module that
            returns feature maps (see :class:`ModuleEncoder`).
        weights: file of pretrained weights (``.pth`` or ``.safetensors``), or None.

    Returns:
        The encoder, with ``channels`` and ``reductions``.

    Raises:
        ValueError: if the name is unknown, the module returns no maps, or the weights do not fit.
        TypeError: if ``encoder`` is neither a string nor a module.
        ImportError: if the name asks for timm and it is not installed.
    """
    built: Encoder
    inner: nn.Module
    if isinstance(encoder, Encoder):
        built = inner = encoder
    elif isinstance(encoder, nn.Module):
        built, inner = ModuleEncoder(encoder), encoder
    elif not isinstance(encoder, str):
        raise TypeError(f"SynergyNet: expected encoder to be a name or a Module, got {type(encoder).__name__}")
    elif encoder in RESNETS:
        built = inner = ResNet(encoder)
    elif encoder.startswith(_TIMM) and len(encoder) > len(_TIMM):
        inner = _timm().create_model(encoder.removeprefix(_TIMM), pretrained=False, features_only=True)
        built = ModuleEncoder(inner)
    else:
        raise ValueError(
            f"SynergyNet: expected encoder to be one of {', '.join(RESNETS)}, 'timm:NAME' or a Module, got {encoder!r}"
        )
    if weights is not None:
        load_encoder_weights(inner, weights, left_out=("fc",) if isinstance(inner, ResNet) else None)
    return built


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ImportError("SynergyNet: an encoder named 'timm:…' needs timm: pip install timm") from error
