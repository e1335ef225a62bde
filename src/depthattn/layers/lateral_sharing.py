"""The lateral sharing unit between the decoders of a multi-task network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn

from depthattn.functional import lateral_sharing
from depthattn.ops import checks
from depthattn.ops.masking import promoted
from depthattn.ops.tracing import traced_quietly

GATES = ("scalar", "channel")

# torch.fx cannot follow the conditions on shapes and dtypes in these; they are one step each of a graph that it draws.
torch.fx.wrap("lateral_sharing")
torch.fx.wrap("promoted")


class LateralSharingUnit(nn.Module):
    r"""Lateral sharing unit (LSU): gated exchange of features between tasks, which starts as the identity.

    .. math:: y_t = x_t + \sum_u G_{tu}\, A_{tu}(x_u)

    :math:`x_t` are the features of task t and :math:`G_{tu}` is a learned gate. :math:`A_{tu}` is the identity where
    both tasks have the same number of channels, else a learned 1x1 convolution. With ``init=0.0`` the outputs equal the
    inputs at first, so a trained network computes the same with the unit as without it.

    Args:
        num_tasks: number T of tasks, at least 2. None takes the number of ``tasks``, or 2.
        channels: number of channels of all tasks, or one number per task. Only needed for ``gate="channel"`` and for
            tasks with unequal numbers of channels.
        gate: ``"scalar"``, one gate per pair of tasks; ``"channel"``, one per pair and channel.
        init: initial value of all gates.
        own_init: initial value of the gates from a task to itself; None takes ``init``. A gate comes on top of the
            identity: cross-stitch units, which keep 0.9 of a task and take 0.1 of the other, are
            ``init=0.1, own_init=-0.1``.
        tasks: a name for each task. The unit then takes and returns a dict of features by name, and ``gates`` uses
            these names.
        channel_dim: axis of the channels: 1, or -1 for tokens (B,N,C).

    Attributes:
        weight: the gates, a ``ParameterList`` of T rows; ``weight[t][u]`` is the gate from task u to task t. A row has
            shape (T,), or (T,C_t) for ``gate="channel"``. Optimise them without weight decay.
        adapters: the 1x1 convolutions, a ``ModuleDict`` with the keys ``"t_from_u"``, task numbers for t and u; empty
            where all tasks have the same number of channels.

    Shape:
        T features (B,C_t,...), one per task, as separate arguments, or as one dict if the tasks have names. Returns a
        tuple, or a dict, of T tensors with the shapes of the features.

    Raises:
        ValueError: if an option value does not fit, or the features fit neither each other nor the options.
        TypeError: if a feature is not a floating-point tensor.

    Gradient:
        To the features, the gates and the adapters. At a gate of 0 its adapter has a gradient of 0: with ``init=0.0``
        adapters start to learn after the first step of the gates.

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
        num_tasks: int | None = None,
        channels: int | Sequence[int] | None = None,
        *,
        gate: str = "scalar",
        init: float = 0.0,
        own_init: float | None = None,
        tasks: Sequence[str] | None = None,
        channel_dim: int = 1,
    ) -> None:
        super().__init__()
        name = type(self).__name__
        if tasks is not None:
            if isinstance(tasks, (str, set, frozenset)) or not all(isinstance(task, str) for task in tasks):
                raise TypeError(f"{name}: expected tasks as one name per task, in their order, got {tasks!r}")
            if len(set(tasks)) != len(tasks):
                raise ValueError(f"{name}: expected a name of its own for each task, got {tuple(tasks)}")
            if num_tasks is not None and num_tasks != len(tasks):
                raise ValueError(f"{name}: expected num_tasks={len(tasks)} for tasks={tuple(tasks)}, got {num_tasks}")
        if num_tasks is None:
            num_tasks = 2 if tasks is None else len(tasks)
        checks.check_index(name, "num_tasks", num_tasks)
        checks.check_number(name, "num_tasks", num_tasks, at_least=2)
        gate = checks.check_choice(name, "gate", gate, GATES)
        checks.check_number(name, "init", init)
        if own_init is not None:
            checks.check_number(name, "own_init", own_init)
        checks.check_index(name, "channel_dim", channel_dim)
        num_tasks = int(num_tasks)
        self.channels: tuple[int, ...] | None = None
        if channels is None:
            if gate == "channel":
                raise ValueError(f'{name}: expected channels for gate="channel", got None')
        else:
            if isinstance(channels, str) or not isinstance(channels, (Integral, Sequence)):
                raise TypeError(f"{name}: expected channels as an int or one int per task, got {channels!r}")
            counts: tuple[Any, ...] = tuple(channels) if isinstance(channels, Sequence) else (channels,) * num_tasks
            if len(counts) != num_tasks:
                raise ValueError(f"{name}: expected one channel count per task, {num_tasks}, got {counts}")
            for task, count in enumerate(counts):
                checks.check_index(name, f"channels[{task}]", count)
                checks.check_number(name, f"channels[{task}]", count, at_least=1)
            self.channels = tuple(int(count) for count in counts)
        self.num_tasks = num_tasks
        self.gate = gate
        self.init = float(init)
        self.own_init = self.init if own_init is None else float(own_init)
        self.tasks = None if tasks is None else tuple(tasks)
        self.channel_dim = int(channel_dim)
        rows: list[tuple[int, ...]] = [(num_tasks,)] * num_tasks
        if gate == "channel" and self.channels is not None:
            rows = [(num_tasks, count) for count in self.channels]
        self.weight = _Gates(rows, self.init, self.own_init)
        self.adapters = nn.ModuleDict()
        if self.channels is not None and len(set(self.channels)) > 1:
            for to, wanted in enumerate(self.channels):
                for source, given in enumerate(self.channels):
                    if given != wanted:
                        self.adapters[f"{to}_from_{source}"] = nn.Conv2d(given, wanted, 1, bias=False)

    def forward(self, *features: Any) -> Any:
        """Mix the features of all tasks.

        Args:
            *features: one tensor (B,C_t,...) per task, of one batch and image size, in the order of the tasks; or, if
                the tasks have names, one dict of them by name. With ``channel_dim=-1``, (B,...,C_t).

        Returns:
            A tuple of T tensors, or a dict by name, with the shapes and dtypes of the features.
        """
        # torch.fx patches what it traces, and cannot patch a function that is decorated.
        return self._shared(features)

    @traced_quietly
    def _shared(self, given: tuple[Any, ...]) -> Any:
        name = type(self).__name__
        _check_given(name, given, self.num_tasks, self.tasks)
        if self.tasks is not None:
            features = tuple(checks.plain(given[0][task]) for task in self.tasks)
        else:
            features = tuple(checks.plain(given[task]) for task in range(self.num_tasks))
        _check_features(name, features, self.channels, self.channel_dim)
        moved = self.channel_dim != 1
        if moved:
            features = tuple(feature.movedim(self.channel_dim, 1) for feature in features)
        if self.adapters:
            _check_sizes(name, features)
            promotion = promoted(features)
            features = tuple(promotion[task] for task in range(self.num_tasks))
            outputs = tuple(self._adapted(task, features) for task in range(self.num_tasks))
        else:
            outputs = lateral_sharing(features, torch.stack(tuple(self.weight)))
        if moved:
            outputs = tuple(outputs[task].movedim(1, self.channel_dim) for task in range(self.num_tasks))
        return outputs if self.tasks is None else {task: outputs[t] for t, task in enumerate(self.tasks)}

    def _adapted(self, task: int, features: tuple[Tensor, ...]) -> Tensor:
        output = features[task]
        for source, feature in enumerate(features):
            key = f"{task}_from_{source}"
            if key in self.adapters:
                adapter = self.adapters[key]
                feature = adapter(_as_image(feature, adapter.weight))  # type: ignore[arg-type]  # a tensor, of a Conv2d
            output = _with_gated(output, self.weight[task][source], feature)
        return output

    def gates(self) -> dict[str, Tensor]:
        """The gates by name, detached, for the log.

        Returns:
            ``"t_from_u"``, what task t takes from task u, to a scalar, or to (C_t,) for ``gate="channel"``.
        """
        names = range(self.num_tasks) if self.tasks is None else self.tasks
        return {
            f"{to}_from_{source}": self.weight[t][u].detach()
            for t, to in enumerate(names)
            for u, source in enumerate(names)
        }

    def extra_repr(self) -> str:
        return (
            f"num_tasks={self.num_tasks}, channels={self.channels}, gate={self.gate!r}, init={self.init:g}"
            + (f", own_init={self.own_init:g}" if self.own_init != self.init else "")
            + (f", tasks={self.tasks}" if self.tasks is not None else "")
            + (f", channel_dim={self.channel_dim}" if self.channel_dim != 1 else "")
        )


class _Gates(nn.ParameterList):
    """One row of gates per task; it knows how to start again, as FSDP asks of what it finds on the meta device."""

    def __init__(self, rows: Sequence[tuple[int, ...]], init: float, own_init: float) -> None:
        super().__init__(nn.Parameter(torch.empty(row)) for row in rows)
        self.init, self.own_init = init, own_init
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for task, row in enumerate(self):
            nn.init.constant_(row, self.init)
            nn.init.constant_(row[task], self.own_init)


def _hint(given: tuple[Any, ...]) -> str:
    if len(given) == 1 and isinstance(given[0], (list, tuple)):
        return "; pass *features"
    if len(given) == 1 and isinstance(given[0], Mapping):
        return f"; tasks={tuple(given[0])} makes a unit for such a dict"
    return ""


@torch.fx.wrap
def _check_given(name: str, given: tuple[Any, ...], num_tasks: int, tasks: tuple[str, ...] | None) -> None:
    if tasks is None:
        if len(given) != num_tasks:
            raise ValueError(f"{name}: expected {num_tasks} features, one per task, got {len(given)}{_hint(given)}")
        return
    if len(given) != 1 or not isinstance(given[0], Mapping):
        raise TypeError(f"{name}: expected one dict of features by task, {tasks}, got {len(given)} arguments")
    if set(given[0]) != set(tasks):
        raise ValueError(f"{name}: expected features of the tasks {tasks}, got {tuple(given[0])}")


@torch.fx.wrap
def _check_sizes(name: str, features: tuple[Tensor, ...]) -> None:
    first = features[0]
    for feature in features[1:]:
        if feature.shape[:1] != first.shape[:1] or feature.shape[2:] != first.shape[2:]:
            raise ValueError(
                f"{name}: expected features of one batch and image size, got {checks.shape_of(first)} and "
                f"{checks.shape_of(feature)}"
            )


@torch.fx.wrap
def _as_image(feature: Tensor, weight: Tensor) -> Tensor:
    """(B,C,...) as (B,C,H,W) in the dtype of the weight of a convolution, for that convolution."""
    feature = feature.to(weight.dtype)
    return feature if feature.ndim == 4 else feature.reshape(*feature.shape[:2], -1, 1)


@torch.fx.wrap
def _with_gated(output: Tensor, gate: Tensor, feature: Tensor) -> Tensor:
    gate = gate.view(-1, *(1,) * (output.ndim - 2))
    return output + gate.to(output.dtype) * feature.to(output.dtype).reshape(output.shape)


@torch.fx.wrap
def _check_features(
    name: str, features: tuple[Tensor, ...], channels: tuple[int, ...] | None, channel_dim: int
) -> None:
    counts = []
    for task, feature in enumerate(features):
        checks.check_float(name, f"features[{task}]", feature)
        if feature.ndim < 2 or not -feature.ndim <= channel_dim < feature.ndim:
            raise ValueError(
                f"{name}: expected features[{task}] with channels on axis {channel_dim}, got {checks.shape_of(feature)}"
            )
        counts.append(feature.shape[channel_dim])
        if channels is not None and counts[task] != channels[task]:
            raise ValueError(
                f"{name}: expected features[{task}] with {channels[task]} channels, got {checks.shape_of(feature)}"
            )
    if channels is None and any(count != counts[0] for count in counts):
        found = ", ".join(str(int(count)) for count in counts)
        raise ValueError(
            f"{name}: expected features of one number of channels, got {found}; channels=({found}) puts a learned "
            "1x1 convolution between them"
        )
