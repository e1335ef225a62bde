"""What happens to a module between its calls: copied, stored, moved, shared, imported in other ways."""

from __future__ import annotations

import copy
import io
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.ops.cases import depth, labels_for, random
from tests.two_step_processes import HALVES, parts, step, step_of_one
from torch import Tensor, nn

import depthattn

SHAPE = (2, 6, 7)


def _shared(unit: nn.Module, *features: Tensor) -> Tensor:
    return torch.stack(unit(*features)).square().mean()


def _unit() -> nn.Module:
    unit = depthattn.LateralSharingUnit(2, channels=(4, 4))
    for parameter in unit.parameters():
        nn.init.normal_(parameter)
    return unit


FEATURES = tuple(random(2, 4, *SHAPE[1:], seed=seed).float() for seed in (1, 2))
PRED, TARGET = (depth(*SHAPE, seed=seed).float() for seed in (1, 2))
LABELS = labels_for(*SHAPE, classes=4)
LOGITS = random(2, 4, *SHAPE[1:], seed=3, low=-2).float()

MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[Any], Tensor]]] = {
    "depth_aware": (
        lambda: depthattn.DepthAwareLoss(max_depth=8.0, distance="l2"),
        lambda loss: loss(PRED.to(loss_dtype(loss)), TARGET.to(loss_dtype(loss))),
    ),
    "joint_gradient": (
        lambda: depthattn.JointGradientLoss(semantic_weight=0.5),
        lambda loss: loss(PRED, TARGET, labels=LABELS),
    ),
    "semantic_focal": (
        lambda: depthattn.SemanticFocalLoss(weight=torch.tensor([1.0, 2, 0.5, 1]), gamma=1.5),
        lambda loss: loss(LOGITS, LABELS),
    ),
    "lateral_sharing": (_unit, lambda unit: _shared(unit, *(x.to(loss_dtype(unit)) for x in FEATURES))),
    "semi_dense_up_skip": (
        lambda: depthattn.SemiDenseUpSkip((4, 4), 3),
        lambda skip: skip([x.to(loss_dtype(skip)) for x in FEATURES], (9, 8)).square().mean(),
    ),
}
EVERY = pytest.mark.parametrize("name", MODULES)


def loss_dtype(module: nn.Module) -> torch.dtype:
    return next((p.dtype for p in module.parameters()), torch.float32)


@EVERY
@pytest.mark.parametrize("way", ["pickle", "deepcopy", "torch.save"])
def test_a_copy_computes_the_same_and_shares_nothing(name: str, way: str) -> None:
    make, run = MODULES[name]
    module = make()
    if way == "pickle":
        twin = pickle.loads(pickle.dumps(module))
    elif way == "deepcopy":
        twin = copy.deepcopy(module)
    else:
        buffer = io.BytesIO()
        torch.save(module, buffer)
        buffer.seek(0)
        twin = torch.load(buffer, weights_only=False)
    assert torch.equal(run(twin), run(module))
    assert repr(twin) == repr(module)
    own = {x.data_ptr() for x in (*module.parameters(), *module.buffers())}
    assert not own & {x.data_ptr() for x in (*twin.parameters(), *twin.buffers())}


@EVERY
def test_a_state_dict_brings_another_one_to_the_same_result(name: str) -> None:
    make, run = MODULES[name]
    module, other = make(), make()
    with torch.no_grad():
        for x in (*other.parameters(), *other.buffers()):
            x.zero_()
    other.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(run(other), run(module))


@pytest.mark.parametrize("name", ["lateral_sharing", "semi_dense_up_skip"])
def test_to_double_and_to_channels_last_change_precision_and_layout_only(name: str) -> None:
    make, run = MODULES[name]
    module = make()
    wanted = run(module)
    torch.testing.assert_close(run(module.to(memory_format=torch.channels_last)), wanted)
    double = run(module.double())
    assert double.dtype == torch.float64
    torch.testing.assert_close(double.float(), wanted)


def test_class_weights_move_with_the_module() -> None:
    loss = depthattn.SemanticFocalLoss(weight=torch.ones(4))
    assert loss.to("meta").weight.device.type == "meta"
    assert depthattn.SemanticFocalLoss(weight=torch.ones(4)).double().weight.dtype == torch.float64


@EVERY
def test_data_parallel_without_devices_is_the_module(name: str) -> None:
    make, run = MODULES[name]
    module = make()
    assert torch.equal(run(nn.DataParallel(module)), run(module))


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_two_processes_under_ddp_take_the_mean_of_their_gradients(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(step_of_one, (str(tmp_path),), nprocs=2, start_method="fork")
    alone = [step(*parts(), half) for half in HALVES]
    assert len(alone[0]) == sum(1 for part in parts() for _ in part.parameters())
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found, {name: (grad + alone[1][name]) / 2 for name, grad in alone[0].items()})


def test_two_losses_in_two_threads_at_once() -> None:
    def gradient(name: str, leaf: Tensor) -> Tensor:
        x = leaf.clone().requires_grad_()
        target = LABELS if name == "semantic_focal" else TARGET
        return torch.autograd.grad(MODULES[name][0]()(x, target), x)[0]

    leaves = {"depth_aware": PRED, "semantic_focal": LOGITS, "joint_gradient": PRED}
    wanted = {name: gradient(name, leaf) for name, leaf in leaves.items()}
    with ThreadPoolExecutor(3) as pool:
        jobs = [(name, pool.submit(gradient, name, leaves[name])) for _ in range(20) for name in leaves]
        assert all(torch.equal(job.result(), wanted[name]) for name, job in jobs)


IMPORT = """
import sys
import torch
torch.ones(1, requires_grad=True).sum().backward()
before = set(sys.modules)
import depthattn
pred = torch.ones(1, 4, 4, requires_grad=True)
depthattn.DepthAwareLoss()(pred, torch.full((1, 4, 4), 2.0)).backward()
depthattn.AttentionDrivenLoss, depthattn.LateralSharingUnit, depthattn.SemiDenseUpSkip, depthattn.SynergyNet
print(*sorted(name for name in set(sys.modules) - before if name.partition(".")[0] != "depthattn"))
"""


def test_the_core_imports_and_runs_optimised_without_a_warning_or_another_module() -> None:
    """No extra, nothing of Triton, and nothing of PyTorch's that a backward pass of its own does not bring."""
    command = [sys.executable, "-O", "-W", "error", "-c", IMPORT]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "TRITON_INTERPRET": ""}, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []


def _in_a_child(queue: Any) -> None:
    queue.put(float(MODULES["depth_aware"][1](MODULES["depth_aware"][0]())))


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_a_worker_process_computes_the_same(method: str) -> None:
    make, run = MODULES["depth_aware"]
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        # Large enough for the threads, for which a forked child would wait forever.
        large = torch.ones(2, 300, 300)
        depthattn.DepthAwareLoss()(large, large)
        context = torch.multiprocessing.get_context(method)
        queue = context.SimpleQueue()
        worker = context.Process(target=_in_a_child, args=(queue,))
        worker.start()
        worker.join(60)
        worker.kill()
    finally:
        torch.set_num_threads(threads)
    assert worker.exitcode == 0
    assert queue.get() == float(run(make()))
