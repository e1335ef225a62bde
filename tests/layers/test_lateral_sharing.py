"""The lateral sharing unit: the identity at first, any number of tasks, unequal channels, its gates by name."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

from depthattn import LateralSharingUnit


def features(*channels: int, size: tuple[int, ...] = (5, 6)) -> list[Tensor]:
    return [torch.randn(2, count, *size) for count in channels]


def opened(unit: LateralSharingUnit) -> LateralSharingUnit:
    """The unit with gates that differ from each other and from their start."""
    with torch.no_grad():
        for row in unit.weight:
            row.normal_()
    return unit


@pytest.mark.parametrize("gate", ["scalar", "channel"])
@pytest.mark.parametrize("channels", [(4, 4), (4, 4, 4), (3, 5), (2, 3, 2)])
def test_it_starts_as_the_identity(channels: tuple[int, ...], gate: str) -> None:
    unit = LateralSharingUnit(len(channels), channels, gate=gate)
    inputs = features(*channels)
    outputs = unit(*inputs)
    assert isinstance(outputs, tuple)
    assert all(torch.equal(y, x) for y, x in zip(outputs, inputs, strict=True))


@pytest.mark.parametrize("size", [(), (7,), (5, 6), (2, 3, 4)])
@pytest.mark.parametrize("tasks", [2, 3, 5])
def test_scalar_gates_mix_all_tasks(tasks: int, size: tuple[int, ...]) -> None:
    unit = opened(LateralSharingUnit(tasks))
    inputs = features(*[3] * tasks, size=size)
    gates = torch.stack(tuple(unit.weight))
    wanted = torch.stack(inputs) + torch.einsum("tu,u...->t...", gates, torch.stack(inputs))
    torch.testing.assert_close(torch.stack(unit(*inputs)), wanted)


def test_channel_gates_mix_channel_by_channel() -> None:
    unit = opened(LateralSharingUnit(2, 3, gate="channel"))
    inputs = features(3, 3)
    for channel in range(3):
        row = unit.weight[1][:, channel]
        wanted = (1 + row[1]) * inputs[1][:, channel] + row[0] * inputs[0][:, channel]
        torch.testing.assert_close(unit(*inputs)[1][:, channel], wanted)


@pytest.mark.parametrize("gate", ["scalar", "channel"])
def test_unequal_channels_go_through_adapters(gate: str) -> None:
    unit = opened(LateralSharingUnit(2, (4, 3), gate=gate))
    assert set(unit.adapters) == {"0_from_1", "1_from_0"}
    a, b = features(4, 3)
    kernel = unit.adapters["0_from_1"].weight[:, :, 0, 0]
    own, other = unit.weight[0][0].view(-1, 1, 1), unit.weight[0][1].view(-1, 1, 1)
    wanted = (1 + own) * a + other * torch.einsum("oi,bihw->bohw", kernel, b)
    torch.testing.assert_close(unit(a, b)[0], wanted)


def test_equal_channels_need_no_adapter() -> None:
    assert len(LateralSharingUnit(3, 8).adapters) == 0
    assert set(LateralSharingUnit(3, (8, 8, 4)).adapters) == {"0_from_2", "1_from_2", "2_from_0", "2_from_1"}


def test_gates_and_features_get_their_gradients() -> None:
    unit = LateralSharingUnit(2)
    a, b = (x.requires_grad_() for x in features(4, 4))
    unit(a, b)[0].sum().backward()
    torch.testing.assert_close(unit.weight[0].grad, torch.stack((a.sum(), b.sum())).detach())
    assert torch.equal(unit.weight[1].grad, torch.zeros(2))
    assert torch.equal(a.grad, torch.ones_like(a))
    assert torch.equal(b.grad, torch.zeros_like(b))


def test_gates_by_name() -> None:
    unit = LateralSharingUnit(2, init=0.25)
    assert {name: float(gate) for name, gate in unit.gates().items()} == dict.fromkeys(
        ("0_from_0", "0_from_1", "1_from_0", "1_from_1"), 0.25
    )
    with torch.no_grad():
        unit.weight[1][0] = 3.0
    assert float(unit.gates()["1_from_0"]) == 3.0
    assert not unit.gates()["1_from_0"].requires_grad


def test_channel_gates_by_name_have_the_channels_of_their_task() -> None:
    gates = LateralSharingUnit(2, (4, 3), gate="channel").gates()
    assert {name: tuple(gate.shape) for name, gate in gates.items()} == {
        "0_from_0": (4,),
        "0_from_1": (4,),
        "1_from_0": (3,),
        "1_from_1": (3,),
    }


def test_repr_names_the_options() -> None:
    unit = LateralSharingUnit(2, (4, 3), gate="channel", init=0.5)
    assert unit.extra_repr() == "num_tasks=2, channels=(4, 3), gate='channel', init=0.5"
    assert unit.extra_repr() in repr(unit)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda unit: pickle.loads(pickle.dumps(unit))])
@pytest.mark.parametrize("channels", [None, (4, 3)])
def test_copies_compute_the_same_and_share_nothing(duplicate: Any, channels: tuple[int, int] | None) -> None:
    unit = opened(LateralSharingUnit(2, channels))
    twin = duplicate(unit)
    inputs = features(*(channels or (4, 4)))
    assert all(torch.equal(a, b) for a, b in zip(unit(*inputs), twin(*inputs), strict=True))
    with torch.no_grad():
        unit.weight[0].zero_()
    assert not torch.equal(unit(*inputs)[0], twin(*inputs)[0])


def test_state_dict_round_trip() -> None:
    unit, other = opened(LateralSharingUnit(2, (4, 3))), LateralSharingUnit(2, (4, 3))
    other.load_state_dict(unit.state_dict())
    inputs = features(4, 3)
    assert all(torch.equal(a, b) for a, b in zip(unit(*inputs), other(*inputs), strict=True))


@pytest.mark.parametrize("channels", [None, (4, 3)])
def test_compiles_without_a_graph_break(channels: tuple[int, int] | None) -> None:
    torch._dynamo.reset()
    unit = opened(LateralSharingUnit(2, channels))
    inputs = features(*(channels or (4, 4)))
    compiled = torch.compile(unit, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(*inputs), unit(*inputs))


def test_half_features_keep_their_dtype_and_float32_gates_their_precision() -> None:
    unit = opened(LateralSharingUnit(2))
    inputs = [x.bfloat16() for x in features(4, 4)]
    wide = unit(*(x.float() for x in inputs))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = unit(*inputs)
    assert all(torch.equal(y, w.bfloat16()) for y, w in zip(outputs, wide, strict=True))


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"num_tasks": 1}, ValueError, "num_tasks >= 2, got 1"),
        ({"num_tasks": 2.0}, TypeError, "num_tasks as an int, got float"),
        ({"gate": "pixel"}, ValueError, "gate as one of scalar, channel, got 'pixel'"),
        ({"gate": "channel"}, ValueError, 'channels for gate="channel", got None'),
        ({"channels": (4, 4, 4)}, ValueError, r"one channel count per task, 2, got \(4, 4, 4\)"),
        ({"channels": (4, 0)}, ValueError, r"channels\[1\] >= 1, got 0"),
        ({"channels": 4.0}, TypeError, "channels as an int or one int per task, got 4.0"),
        ({"channels": "48"}, TypeError, "channels as an int or one int per task, got '48'"),
        ({"init": float("nan")}, ValueError, "finite init"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"LateralSharingUnit: expected .*{message}"):
        LateralSharingUnit(**options)


@pytest.mark.parametrize(
    ("unit", "shapes", "message"),
    [
        (LateralSharingUnit(2), [(1, 2, 3)], "2 features, one per task, got 1"),
        (LateralSharingUnit(2, 4), [(1, 4, 3), (1, 5, 3)], r"features\[1\] with 4 channels, got \(1, 5, 3\)"),
        (LateralSharingUnit(2), [(1, 4, 3), (1, 4, 5)], r"\(1, 4, 3\) and features\[1\] \(1, 4, 5\)"),
        (
            LateralSharingUnit(2, (2, 3)),
            [(1, 2, 4, 4), (1, 3, 5, 4)],
            r"one batch and image size, got \(1, 2, 4, 4\) and \(1, 3, 5, 4\)",
        ),
    ],
)
def test_features_that_do_not_fit(unit: LateralSharingUnit, shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=f"expected .*{message}"):
        unit(*(torch.zeros(shape) for shape in shapes))


def test_tasks_by_name_take_and_return_a_dict_in_any_order() -> None:
    unit = opened(LateralSharingUnit(tasks=("depth", "semantics")))
    plain = LateralSharingUnit(2)
    plain.load_state_dict(unit.state_dict())
    depth, semantics = features(4, 4)
    outputs = unit({"semantics": semantics, "depth": depth})
    assert list(outputs) == ["depth", "semantics"]
    for ours, wanted in zip(outputs.values(), plain(depth, semantics), strict=True):
        assert torch.equal(ours, wanted)
    assert torch.equal(unit.gates()["depth_from_semantics"], plain.gates()["0_from_1"])
    with pytest.raises(ValueError, match=r"features of the tasks \('depth', 'semantics'\), got \('depth', 'normals'\)"):
        unit({"depth": depth, "normals": depth})
    with pytest.raises(TypeError, match="one dict of features by task"):
        unit(depth, semantics)


@pytest.mark.parametrize("gate", ["scalar", "channel"])
@pytest.mark.parametrize("channels", [(4, 4), (4, 3)])
def test_tokens_have_their_channels_last(channels: tuple[int, int], gate: str) -> None:
    unit = opened(LateralSharingUnit(2, channels, gate=gate, channel_dim=-1))
    images = opened(LateralSharingUnit(2, channels, gate=gate))
    images.load_state_dict(unit.state_dict())
    maps = features(*channels)
    wanted = images(*maps)
    outputs = unit(*(x.flatten(2).transpose(1, 2) for x in maps))
    for ours, theirs in zip(outputs, wanted, strict=True):
        torch.testing.assert_close(ours, theirs.flatten(2).transpose(1, 2))


def test_cross_stitch_starts() -> None:
    unit = LateralSharingUnit(2, init=0.1, own_init=-0.1)
    a, b = features(4, 4)
    torch.testing.assert_close(unit(a, b)[0], 0.9 * a + 0.1 * b)
    torch.testing.assert_close(unit(a, b)[1], 0.1 * a + 0.9 * b)


def test_unequal_channels_without_adapters_name_the_option() -> None:
    with pytest.raises(ValueError, match=r"got 64, 32; channels=\(64, 32\)"):
        LateralSharingUnit(2)(*features(64, 32))


def test_features_of_mixed_dtype_are_promoted() -> None:
    unit = opened(LateralSharingUnit(2))
    a, b = features(4, 4)
    outputs = unit(a.half(), b)
    wanted = unit(a.half().float(), b)
    assert [y.dtype for y in outputs] == [torch.float32] * 2
    assert all(torch.equal(y, w) for y, w in zip(outputs, wanted, strict=True))


def test_features_of_mixed_dtype_are_promoted_before_adapters() -> None:
    unit = opened(LateralSharingUnit(2, channels=(4, 6)))
    a, b = features(4, 6)
    outputs = unit(a.bfloat16(), b)
    wanted = unit(a.bfloat16().float(), b)
    assert [y.dtype for y in outputs] == [torch.float32] * 2
    assert all(torch.equal(y, w) for y, w in zip(outputs, wanted, strict=True))


@pytest.mark.parametrize("dtypes", [(torch.float16,) * 2, (torch.bfloat16,) * 2, (torch.float64, torch.float16)])
def test_adapters_take_features_of_any_dtype_as_gates_do(dtypes: tuple[torch.dtype, torch.dtype]) -> None:
    unit = opened(LateralSharingUnit(2, channels=(4, 6)))
    a, b = (x.to(dtype) for x, dtype in zip(features(4, 6), dtypes, strict=True))
    outputs = unit(a, b)
    assert [y.dtype for y in outputs] == [torch.promote_types(*dtypes)] * 2
    eps = torch.finfo(outputs[0].dtype if outputs[0].dtype != torch.float64 else torch.float32).eps
    with torch.no_grad():
        expected = unit.double()(a.double(), b.double())
    for ours, wanted in zip(outputs, expected, strict=True):
        torch.testing.assert_close(ours.double(), wanted, rtol=0, atol=2 * eps * float(wanted.abs().max()))


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (list, r"got 1; pass \*features$"),
        (lambda pair: dict(zip("ab", pair, strict=True)), r"got 1; tasks=\('a', 'b'\)"),
    ],
)
def test_features_in_one_argument(wrap: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LateralSharingUnit(2)(wrap(features(4, 4)))
