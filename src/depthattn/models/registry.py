"""From an encoder's name, or a module, to an encoder."""

from __future__ import annotations

import importlib
import os
from typing import Any

from torch import nn

from depthattn.models.dilation import OutputStride
from depthattn.models.efficientnet_lite import EFFICIENTNETS, EfficientNetLite
from depthattn.models.encoders import Encoder, ModuleEncoder
from depthattn.models.resnet import RESNETS, ResNet
from depthattn.models.weights import installed_weights, load_encoder_weights

_OWN: dict[str, type[ResNet] | type[EfficientNetLite]] = {
    **dict.fromkeys(RESNETS, ResNet),
    **dict.fromkeys(EFFICIENTNETS, EfficientNetLite),
}
_TIMM = "timm:"


def build_encoder(
    encoder: str | nn.Module,
    weights: str | os.PathLike[str] | None = None,
    *,
    output_stride: OutputStride = 32,
) -> Encoder:
    """Build an encoder and load its weights.

    Args:
        encoder: one of our own, such as ``"resnet50"``; ``"timm:NAME"`` for a model of timm; or a module that returns
            feature maps (see :class:`ModuleEncoder`).
        weights: file of pretrained weights (``.pth`` or ``.safetensors``); ``"auto"`` for the one in the package that
            the extra ``pretrained`` installs; or None.
        output_stride: stride of the coarsest map of one of our own.

    Returns:
        The encoder, with ``channels`` and ``reductions``.

    Raises:
        ValueError: if the name is unknown, the module returns no maps, the weights do not fit, or the encoder does not
            take that stride.
        TypeError: if ``encoder`` is neither a string nor a module.
        ImportError: if the name asks for timm, or ``weights`` for a package, that is not installed.
    """
    built: Encoder
    inner: nn.Module
    if isinstance(encoder, Encoder):
        built = inner = encoder
    elif isinstance(encoder, nn.Module):
        built, inner = ModuleEncoder(encoder), encoder
    elif not isinstance(encoder, str):
        raise TypeError(f"SynergyNet: expected encoder to be a name or a Module, got {type(encoder).__name__}")
    elif encoder in _OWN:
        built = inner = _OWN[encoder](encoder, output_stride=output_stride)
    elif encoder.startswith(_TIMM) and len(encoder) > len(_TIMM):
        inner = _timm().create_model(encoder.removeprefix(_TIMM), pretrained=False, features_only=True)
        built = ModuleEncoder(inner)
    else:
        raise ValueError(
            f"SynergyNet: expected encoder to be one of {', '.join(_OWN)}, 'timm:NAME' or a Module, got {encoder!r}"
        )
    if output_stride != 32 and encoder not in _OWN:
        raise ValueError(
            f"SynergyNet: expected output_stride 32 with an encoder that is none of {', '.join(_OWN)}, got "
            f"{output_stride!r}; give the encoder as a module that has this stride"
        )
    if weights is not None:
        path = installed_weights(encoder) if os.fspath(weights) == "auto" else weights
        load_encoder_weights(inner, path, left_out=inner.left_out if isinstance(inner, Encoder) else None)
    return built


def _timm() -> Any:
    try:
        return importlib.import_module("timm")
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        raise ImportError("SynergyNet: an encoder named 'timm:…' needs timm: pip install timm") from error
