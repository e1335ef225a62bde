"""Weights and optimiser state as named tensors, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from training.checkpoint import CheckpointError


def optimizer_tensors(optimizer: Optimizer, names: Sequence[str]) -> dict[str, Tensor]:
    """The state of every parameter, as ``NAME.KEY``: ``model.neck.0.weight.exp_avg``.

    Args:
        optimizer: one whose state per parameter is tensors, as AdamW's is.
        names: of its parameters, in its order.
    """
    state = optimizer.state_dict()["state"]
    return {f"{names[index]}.{key}": value for index, entry in state.items() for key, value in entry.items()}


def load_optimizer(optimizer: Optimizer, names: Sequence[str], tensors: Mapping[str, Tensor]) -> None:
    """Give back what :func:`optimizer_tensors` returned; the options of the optimiser stay as they are.

    Raises:
        CheckpointError: a tensor is of no parameter, or of one of another shape.
    """
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    places = {name: place for place, name in enumerate(names)}
    state: dict[int, dict[str, Tensor]] = {}
    for full, value in tensors.items():
        name, _, key = full.rpartition(".")
        if name not in places or (value.ndim and value.shape != parameters[places[name]].shape):
            raise CheckpointError(f"optimizer: expected the state of this network, got {full} {tuple(value.shape)}")
        # With the strides of the parameter, or another order of the arithmetic would show in the last bit.
        laid_out = torch.empty_like(parameters[places[name]]).copy_(value) if value.ndim else value
        state.setdefault(places[name], {})[key] = laid_out
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def load_weights(module: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """``module.load_state_dict`` with one line of error.

    Raises:
        CheckpointError: names or shapes differ.
    """
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        reason = str(error).partition("\n")[2].strip().partition("\n")[0]
        raise CheckpointError(f"{what}: expected the weights of this network: {reason}") from error
