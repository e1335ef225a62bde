"""The lateral sharing unit between the decoders of a multi-task network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from depthattn.functional import lateral_sharing
from depthattn.ops import checks
from depthattn.ops.tracing import traced_quietly

GATES = ("scalar", "channel")

# torch.fx cannot follow the conditions on shapes and dtypes in it; it is one step of a graph that it draws.
torch.fx.wrap("lateral_sharing")


class LateralSharingUnit(nn.Module):
    r"""Gated exchange between tasks that starts as the identity.

    .. math:: y_t = x_t + \sum_u G_{tu}\, A_{tu}(x_u)

    :math:`A_{tu}` is the identity where the tasks have the same number of channels, else a learned 1x1 convolution.
    With ``init=0.0`` the outputs equal the inputs at first, so the unit can be put into a trained network without
    changing what it computes.

    Args:
        num_tasks: T, at least 2.
        channels: C for all tasks, or one number per task. Only needed for ``gate="channel"`` and for tasks of unequal
            channel counts, where it sizes the gates and the 1x1 convolutions.
        gate: ``"scalar"``, one gate per pair of tasks; ``"channel"``, one per pair and channel.
        init: the value of all gates at the start.

    Shape:
        T features (B,C_t,...), one per task, as separate arguments; unequal channel counts want (B,C_t,H,W). Returns a
        tuple of T tensors with the shapes of the features.

    Raises:
        ValueError: if an option value does not fit, or the features fit neither each other nor the options.
        TypeError: if a feature is not a floating-point tensor.

    Gradient:
        To the features, the gates and the adapters. At ``init=0.0`` the adapters get their first gradient once the
        gates have moved.

    Source:
        Jiao et al., "Look Deeper into Depth", ECCV 2018, lateral sharing unit; more than two tasks, gates per channel
        and adapters are this library's.

    Example:
        >>> import torch
        >>> from depthattn import LateralSharingUnit
        >>> unit = LateralSharingUnit(num_tasks=2)
        >>> depth, semantics = torch.randn(1, 8, 4, 4), torch.randn(1, 8, 4, 4)
        >>> out_depth, out_semantics = unit(depth, semantics)
        >>> torch.equal(out_depth, depth)
        True
        >>> {name: float(gate) for name, gate in unit.gates().items()}
        {'0_from_0': 0.0, '0_from_1': 0.0, '1_from_0': 0.0, '1_from_1': 0.0}
    """

    def __init__(
        self,
        num_tasks: int = 2,
        channels: int | Sequence[int] | None = None,
        *,
        gate: str = "scalar",
        init: float = 0.0,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        checks.check_index(name, "num_tasks", num_tasks)
        checks.check_number(name, "num_tasks", num_tasks, at_least=2)
        checks.check_choice(name, "gate", gate, GATES)
        checks.check_number(name, "init", init)
        if channels is None:
            if gate == "channel":
                raise ValueError(f'{name}: expected channels for gate="channel", got None')
            self.channels = None
        else:
            if isinstance(channels, str) or not isinstance(channels, (int, Sequence)):
                raise TypeError(f"{name}: expected channels as an int or one int per task, got {channels!r}")
            self.channels = (channels,) * num_tasks if isinstance(channels, int) else tuple(channels)
            if len(self.channels) != num_tasks:
                raise ValueError(f"{name}: expected one channel count per task, {num_tasks}, got {self.channels}")
            for task, count in enumerate(self.channels):
                checks.check_index(name, f"channels[{task}]", count)
                checks.check_number(name, f"channels[{task}]", count, at_least=1)
        self.num_tasks = num_tasks
        self.gate = gate
        self.init = init
        rows: list[tuple[int, ...]] = [(num_tasks,)] * num_tasks
        if gate == "channel" and self.channels is not None:
            rows = [(num_tasks, count) for count in self.channels]
        self.weight = _Gates(rows, init)
        self.adapters = nn.ModuleDict()
        if self.channels is not None and len(set(self.channels)) > 1:
            for to, wanted in enumerate(self.channels):
                for source, given in enumerate(self.channels):
                    if given != wanted:
                        self.adapters[f"{to}_from_{source}"] = nn.Conv2d(given, wanted, 1, bias=False)

    @traced_quietly
    def forward(self, *features: Tensor) -> tuple[Tensor, ...]:
        name = type(self).__name__
        if len(features) != self.num_tasks:
            raise ValueError(f"{name}: expected {self.num_tasks} features, one per task, got {len(features)}")
        if self.channels is not None:
            _check_features(name, features, self.channels)
        if not self.adapters:
            return lateral_sharing(features, torch.stack(tuple(self.weight)))
        return tuple(self._adapted(task, features) for task in range(self.num_tasks))

    def _adapted(self, task: int, features: tuple[Tensor, ...]) -> Tensor:
        own = features[task]
        output = own
        for source, feature in enumerate(features):
            key = f"{task}_from_{source}"
            adapted = self.adapters[key](feature) if key in self.adapters else feature
            if adapted.shape != own.shape:
                raise ValueError(
                    f"{type(self).__name__}: expected features of one batch and image size, got "
                    f"{checks.shape_of(own)} and {checks.shape_of(feature)}"
                )
            gate = self.weight[task][source].view(-1, *(1,) * (own.ndim - 2))
            output = output + gate.to(adapted.dtype) * adapted
        return output

    def gates(self) -> dict[str, Tensor]:
        """The gates by name for logging: ``"t_from_u"`` to a detached scalar, or (C_t,) for ``gate="channel"``."""
        return {
            f"{task}_from_{source}": row[source].detach()
            for task, row in enumerate(self.weight)
            for source in range(self.num_tasks)
        }

    def extra_repr(self) -> str:
        return f"num_tasks={self.num_tasks}, channels={self.channels}, gate={self.gate!r}, init={self.init:g}"


class _Gates(nn.ParameterList):
    """One row of gates per task; it knows how to start again, as FSDP asks of what it finds on the meta device."""

    def __init__(self, rows: Sequence[tuple[int, ...]], init: float) -> None:
        super().__init__(nn.Parameter(torch.empty(row)) for row in rows)
        self.init = init
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for row in self:
            nn.init.constant_(row, self.init)


@torch.fx.wrap
def _check_features(name: str, features: tuple[Tensor, ...], channels: tuple[int, ...]) -> None:
    for task, (feature, count) in enumerate(zip(features, channels, strict=True)):
        checks.check_float(name, f"features[{task}]", feature)
        if feature.ndim < 2 or feature.shape[1] != count:
            raise ValueError(f"{name}: expected features[{task}] with {count} channels, got {checks.shape_of(feature)}")
