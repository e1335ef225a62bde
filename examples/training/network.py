"""The network of a run, and what its batch norms do while it trains."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from depthattn import SynergyNet
from depthattn._messages import reason_of
from training.settings import Settings


def build_model(settings: Settings, num_classes: int) -> SynergyNet:
    # A net without a class cannot be built: where there are no labels, its one class is never trained nor shown.
    model = SynergyNet(
        settings.encoder,
        max(num_classes, 1),
        decoder_channels=settings.decoder_channels,
        sharing=settings.sharing,
        up_skip=settings.up_skip,
        encoder_skips=settings.encoder_skips,
        upsample_semantics="eval",
        encoder_weights=settings.encoder_weights,
    )
    _check_size(model, settings)
    return model.to(memory_format=torch.channels_last)


def _check_size(model: SynergyNet, settings: Settings) -> None:
    """Let the encoder look at a black picture: many a transformer takes one size alone."""
    model.eval()
    try:
        with torch.no_grad():
            model.encoder(torch.zeros(1, 3, *settings.size))
    except (AssertionError, RuntimeError) as error:
        height, width = settings.size
        raise ValueError(
            f"--encoder {settings.encoder}: expected one for images of {height}x{width} (--size), got: "
            f"{reason_of(error)}"
        ) from error
    model.train()


def check_batch_norms(model: SynergyNet, settings: Settings, batch_size: int) -> None:
    """Find the batch norms that would take a mean and a variance of a single value.

    Args:
        model: the network.
        settings: of the run.
        batch_size: frames of one forward pass.

    Raises:
        ValueError: there is one; its map has one pixel, and there is one frame.
    """
    if batch_size > 1 or settings.batch_norm != "local":
        return
    sizes: list[torch.Size] = []
    hooks = [
        part.register_forward_pre_hook(lambda _, given: sizes.append(given[0].shape[2:]))
        for part in model.modules()
        if isinstance(part, _BatchNorm)
    ]
    model.eval()
    with torch.no_grad():
        model(torch.zeros(1, 3, *settings.size))
    model.train()
    for hook in hooks:
        hook.remove()
    if any(size.numel() == 1 for size in sizes):
        height, width = settings.size
        raise ValueError(
            f"--batch-norm local: expected more than one value per channel in a batch, got one: images of "
            f"{height}x{width} end as a map of 1x1, and a batch has one frame; a larger --size or --batch-size, or "
            "--batch-norm frozen"
        )


def check_compiler(device: torch.device) -> None:
    """Compile a function of one line, so that a machine that lacks a compiler says so before a run begins.

    Raises:
        ValueError: torch.compile does not work here.
    """
    try:
        torch.compile(lambda x: x.sin() + 1, backend="inductor")(torch.zeros(8, device=device))
    except Exception as error:
        # Any kind, by what is missing: a compiler, Python's headers, Triton, a writable folder for what it makes.
        reason = str(error).strip().partition("\n")[0]
        raise ValueError(
            f"--compile: expected a compiler that torch.compile can use, got: {reason or type(error).__name__}; "
            "leave out --compile, or install one (on a CPU, g++ or clang)"
        ) from error


def join_batch_norms(model: SynergyNet, settings: Settings, accelerator: Accelerator) -> SynergyNet:
    """With ``--batch-norm sync``, let every batch norm see the images of all processes.

    Raises:
        ValueError: PyTorch cannot do so on this device.
    """
    if settings.batch_norm != "sync":
        return model
    if accelerator.device.type not in ("cuda", "xpu"):
        raise ValueError(f"--batch-norm sync: expected GPUs, which PyTorch needs for it, got {accelerator.device.type}")
    joined: SynergyNet = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    return joined


def train_mode(module: nn.Module, settings: Settings) -> None:
    """Training mode; with ``--batch-norm frozen``, batch norms go on using their running statistics."""
    module.train()
    if settings.batch_norm == "frozen":
        for part in module.modules():
            if isinstance(part, _BatchNorm):
                part.eval()
