"""A state dict is all that a network has: whatever way it is built and loaded, it computes the same."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_model, save_model
from torch import Tensor, nn
from torch.distributed.checkpoint import load, save
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FullyShardedDataParallel, StateDictType, fully_shard

import depthattn
from depthattn import SynergyNet

IMAGE = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))


def build(encoder: str = "efficientnet_lite0") -> SynergyNet:
    torch.manual_seed(0)
    model = SynergyNet(encoder, 3, decoder_channels=(8, 8), sharing="channel").eval()
    for unit in model.sharing_units:
        for row in unit.weight:
            row.data.uniform_(-0.5, 0.5)
    return model


def emptied(encoder: str = "efficientnet_lite0") -> SynergyNet:
    """Built on the meta device, then given memory in which nothing useful stands."""
    with torch.device("meta"):
        model = build(encoder)
    model.to_empty(device="cpu")
    return poisoned(model)


def poisoned(model: SynergyNet) -> SynergyNet:
    with torch.no_grad():
        for tensor in chain(model.parameters(), model.buffers()):
            tensor.fill_(float("nan") if tensor.is_floating_point() else -1)
    return model


def check_equal(model: nn.Module, expected: SynergyNet) -> None:
    with torch.no_grad():
        for ours, theirs in zip(model(IMAGE), expected(IMAGE), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet_lite0"])
def test_state_dict_after_to_empty(encoder: str) -> None:
    model, expected = emptied(encoder), build(encoder)
    model.load_state_dict(expected.state_dict())
    check_equal(model, expected)


def test_assign_on_the_meta_device() -> None:
    expected = build()
    with torch.device("meta"):
        model = build()
    model.load_state_dict(expected.state_dict(), assign=True)
    check_equal(model, expected)


def test_safetensors(tmp_path: Path) -> None:
    model, expected = emptied(), build()
    save_model(expected, str(tmp_path / "model.safetensors"))
    load_model(model, tmp_path / "model.safetensors")
    check_equal(model, expected)


@pytest.mark.usefixtures("alone")
def test_a_distributed_checkpoint_is_read_into_the_tensors(tmp_path: Path) -> None:
    model, expected = emptied(), build()
    save(expected.state_dict(), checkpoint_id=tmp_path)
    load(model.state_dict(), checkpoint_id=tmp_path)
    check_equal(model, expected)


@pytest.fixture
def alone(tmp_path: Path) -> object:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("alone")
def test_fully_shard_from_the_meta_device() -> None:
    expected = build()
    with torch.device("meta"):
        model = build()
    mesh = init_device_mesh("cpu", (1,))
    for part in (*model.depth_decoder.up_projections, model):
        fully_shard(part, mesh=mesh)
    model.to_empty(device="cpu")
    state = copy.deepcopy(expected.state_dict())
    set_model_state_dict(poisoned(model), state, options=StateDictOptions(full_state_dict=True))
    check_equal(model, expected)


@pytest.mark.usefixtures("alone")
@pytest.mark.filterwarnings("ignore:FSDP is switching", "ignore:.*deprecated:FutureWarning", "ignore:When using")
def test_fsdp_makes_the_parts_of_the_meta_device_anew() -> None:
    expected = build()
    with torch.device("meta"):
        model = build()
    sharded = FullyShardedDataParallel(model, device_id=torch.device("cpu"))
    assert all(float(gate.abs().max()) == 0.0 for gate in model.gates().values())
    with FullyShardedDataParallel.state_dict_type(sharded, StateDictType.FULL_STATE_DICT):
        sharded.load_state_dict(expected.state_dict())
    check_equal(sharded, expected)


PARTS: dict[str, Callable[[], nn.Module]] = {
    "depth_aware": depthattn.DepthAwareLoss,
    "joint_gradient": depthattn.JointGradientLoss,
    "semantic_focal": lambda: depthattn.SemanticFocalLoss(weight=torch.ones(3)),
    "attention_driven": depthattn.AttentionDrivenLoss,
    "attention_driven_learned": lambda: depthattn.AttentionDrivenLoss(weights="learned"),
    "lateral_sharing": lambda: depthattn.LateralSharingUnit(2, channels=(8, 4), gate="channel"),
    "semi_dense_up_skip": lambda: depthattn.SemiDenseUpSkip((8, 4), 4),
    "up_projection": lambda: depthattn.UpProjection(8, 4),
    "network": build,
}


@pytest.mark.parametrize("name", PARTS)
def test_every_tensor_of_a_module_is_in_its_state_dict(name: str) -> None:
    module = PARTS[name]()
    held = {key for key, _ in chain(module.named_parameters(), module.named_buffers())}
    loose = {
        f"{path}.{key}"
        for path, part in module.named_modules()
        for key, value in vars(part).items()
        if isinstance(value, Tensor)
    }
    assert held == set(module.state_dict())
    assert loose == set()
