"""SynergyNet for inference: batch norms and gates folded into the convolutions beside them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.nn.utils.parametrize import is_parametrized

from depthattn.layers.lateral_sharing import LateralSharingUnit
from depthattn.layers.up_projection import UpProjection
from depthattn.models.network import NetworkT, SynergyNetwork

_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)
_PROBE_SIZE = 224
# Folding changes the order of roundings only; a wrong fold changes the features by a fraction of themselves.
_ROUNDING_STEPS = 1e4


class FoldedSharing(nn.Module):
    """Lateral sharing of two tasks whose own gates went into the convolutions behind it.

    Args:
        from_labels: what depth takes from the labels, relative to what it keeps of itself: a number, or (C,1,1).
        from_depth: the same for the labels.
    """

    def __init__(self, from_labels: float | Tensor, from_depth: float | Tensor) -> None:
        super().__init__()
        self.depth = _Addition(from_labels)
        self.labels = _Addition(from_depth)

    def forward(self, depth: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.depth(depth, labels), self.labels(labels, depth)


class _Addition(nn.Module):
    """own + share * other; nothing at all where the share is 0."""

    share: Tensor | None

    def __init__(self, share: float | Tensor) -> None:
        super().__init__()
        self.number = None if isinstance(share, Tensor) else share
        self.register_buffer("share", share if isinstance(share, Tensor) else None)

    def forward(self, own: Tensor, other: Tensor) -> Tensor:
        if self.share is not None:
            return torch.addcmul(own, other, self.share)
        return torch.add(own, other, alpha=self.number) if self.number else own

    def extra_repr(self) -> str:
        return "share per channel" if self.number is None else f"share={self.number:g}"


def folded(model: NetworkT) -> NetworkT:
    """A copy of ``model`` for inference; see :meth:`SynergyNet.optimize_for_inference`."""
    copied = copy.deepcopy(model).eval().requires_grad_(False)
    dtype = copied.dtype
    if dtype.itemsize < 4:
        # Half precision would round every folded weight and could not tell a wrong fold from a right one.
        copied.float()
    left = _fold_encoder(copied)
    for owner, conv, norm in _own_pairs(copied):
        _fold_pair(owner, conv, norm)
    _fold_gates(copied)
    if left:
        warnings.warn(f"SynergyNet.optimize_for_inference: {left}", UserWarning, stacklevel=3)
    copied.to(dtype)
    copied.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stubs leave it out
    return copied


def _own_pairs(model: SynergyNetwork) -> Iterator[tuple[nn.Module, str, str]]:
    yield model.neck, "0", "1"
    for decoder in (model.depth_decoder, model.semantic_decoder):
        for up in decoder.up_projections:
            # The crop between the two drops pixels, and a batch norm treats every pixel alike.
            yield up, "unpool_conv", "unpool_norm"
            yield up, "conv", "norm"
        for skip in decoder.skips:
            if isinstance(skip, nn.Sequential):
                yield skip, "0", "1"
        if decoder.up_skip is not None:
            yield decoder, "up_skip.smooth", "up_skip_norm"


def _fold_pair(owner: nn.Module, conv_name: str, norm_name: str) -> None:
    norm = owner.get_submodule(norm_name)
    if isinstance(norm, nn.BatchNorm2d):
        _absorb(cast("nn.Conv2d | nn.ConvTranspose2d", owner.get_submodule(conv_name)), norm)
        _replace(owner, norm_name, nn.Identity())


def _absorb(conv: nn.Conv2d | nn.ConvTranspose2d, norm: nn.BatchNorm2d) -> None:
    """Put the affine map of ``norm`` into ``conv``, in float64 and rounded once."""
    if norm.running_mean is None or norm.running_var is None:
        raise ValueError(
            "SynergyNet.optimize_for_inference: expected batch norms with running statistics, got one without"
        )
    bias, gain, shift = (None if x is None else x.double() for x in (conv.bias, norm.weight, norm.bias))
    weight, shift = fuse_conv_bn_weights(
        conv.weight.double(),
        bias,
        norm.running_mean.double(),
        norm.running_var.double(),
        norm.eps,
        gain,
        shift,
        transpose=isinstance(conv, nn.ConvTranspose2d),
    )
    dtype = conv.weight.dtype
    conv.weight = nn.Parameter(weight.to(dtype), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(dtype), requires_grad=False)


def _replace(owner: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, leaf = name.rpartition(".")
    setattr(owner.get_submodule(parent), leaf, module)


def _fold_encoder(model: SynergyNetwork) -> str:
    """Fold the batch norms of any encoder that follow a convolution; returns what was left and why, or nothing.

    Which follows which is seen by running the encoder, as no reading of its code could tell for certain. The folded
    one then has to give the same features, or it is dropped.
    """
    encoder = model.encoder
    norms = [name for name, module in encoder.named_modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    if not norms:
        return ""
    random = torch.Generator().manual_seed(0)
    image = torch.randn(1, 3, _PROBE_SIZE, _PROBE_SIZE, generator=random).to(cast(Tensor, model.neck[0].weight))
    try:
        before, pairs = _observe(encoder, image)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        reason = f"it takes no {_PROBE_SIZE}x{_PROBE_SIZE} image ({type(error).__name__})"
        return f"all {len(norms)} batch norms of the encoder stay as they are: {reason}"
    whole = copy.deepcopy(encoder)
    for conv, norm in pairs.items():
        _fold_pair(encoder, conv, norm)
    with torch.no_grad():
        after = encoder(image)
    if not all(_same(ours, theirs) for ours, theirs in zip(after, before, strict=True)):
        model.encoder = whole
        return f"all {len(norms)} batch norms of the encoder stay as they are: without them it gave other features"
    rest = [name for name in norms if name not in pairs.values()]
    if not rest:
        return ""
    return f"{len(rest)} of {len(norms)} batch norms of the encoder stay as they are: {', '.join(rest[:3])}" + (
        f" and {len(rest) - 3} more" if len(rest) > 3 else ""
    )


def _observe(encoder: nn.Module, image: Tensor) -> tuple[list[Tensor], dict[str, str]]:
    """Run the encoder; returns its features and each convolution whose output went untouched into a batch norm."""
    made: dict[int, tuple[str, Tensor, int]] = {}
    pairs: dict[str, str] = {}
    calls: dict[str, int] = {}

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            calls[name] = calls.get(name, 0) + 1
            if type(module) is nn.BatchNorm2d:
                conv, source, version = made.get(id(inputs[0]), ("", None, 0))
                # An activation in place between the two changes the version, not the tensor.
                if source is inputs[0] and source._version == version and module.running_mean is not None:
                    pairs[conv] = name
            elif type(module) in _CONVOLUTIONS and not is_parametrized(module) and _can_absorb(module):
                made[id(output)] = (name, output, output._version)

        return module.register_forward_hook(hook)

    handles = [watch(name, module) for name, module in encoder.named_modules()]
    try:
        with torch.no_grad():
            features = [feature.clone() for feature in encoder(image)]
    finally:
        for handle in handles:
            handle.remove()
    return features, {conv: norm for conv, norm in pairs.items() if calls[conv] == calls[norm] == 1}


def _can_absorb(module: nn.Module) -> bool:
    # torch's fusion takes the output channels of a transposed convolution to be one axis of its weight.
    return not (isinstance(module, nn.ConvTranspose2d) and module.groups > 1)


def _same(ours: Tensor, theirs: Tensor) -> bool:
    bound = _ROUNDING_STEPS * torch.finfo(theirs.dtype).eps * float(theirs.abs().max())
    return ours.shape == theirs.shape and torch.allclose(ours, theirs, rtol=0.0, atol=bound, equal_nan=True)


def _fold_gates(model: SynergyNetwork) -> None:
    r"""Share with one addition per task, or none.

    .. math:: y_t = m_t (x_t + r_t x_u), \qquad m_t = 1 + G_{tt}, \quad r_t = G_{tu} / m_t

    :math:`m_t` goes into the up-projection behind it, the only reader of :math:`y_t`.
    """
    for level, unit in enumerate(model.sharing_units):
        if not isinstance(unit, LateralSharingUnit):
            continue
        gates = torch.stack([row.double() for row in unit.weight])
        kept = [1.0 + gates[task, task] for task in (0, 1)]
        # A task that keeps nothing of itself leaves nothing to be relative to.
        if any(bool((own == 0).any()) for own in kept):
            continue
        readers = [cast(UpProjection, decoder.up_projections[level + 1]).unpool_conv
                   for decoder in (model.depth_decoder, model.semantic_decoder)]  # fmt: skip
        for reader, own in zip(readers, kept, strict=True):
            weight = reader.weight.double() * own.view(-1, 1, 1, 1)
            reader.weight = nn.Parameter(weight.to(reader.weight.dtype), requires_grad=False)
        dtype = unit.weight[0].dtype
        model.sharing_units[level] = FoldedSharing(
            *(_share((gates[task, 1 - task] / kept[task]).to(dtype)) for task in (0, 1))
        )


def _share(ratio: Tensor) -> float | Tensor:
    if not bool(ratio.any()):
        return 0.0
    return ratio.view(-1, 1, 1) if ratio.ndim else float(ratio)
