"""FSDP2 over two processes: gradients, dtypes and gates are those of the whole network."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.gloo import group_of_two
from tests.models.networks import small
from tests.ops.cases import random
from torch import Tensor, nn

from depthattn import AttentionDrivenLoss, LateralSharingUnit

HALVES = (slice(0, 2), slice(2, 4))


class Step(nn.Module):
    """A network and a loss with learned weights, in eval mode: batch norms see one half of a batch each."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network, self.loss = small().eval(), AttentionDrivenLoss(weights="learned")
        for unit in self.network.sharing_units:
            for row in unit.weight:
                row.data.uniform_(-0.3, 0.3)

    def forward(self, half: slice) -> Tensor:
        image, target = random(4, 3, 32, 40, seed=1).float(), random(4, 32, 40, seed=2, low=0.5, high=5).float()
        labels = (random(4, 32, 40, seed=3) * 5).long()
        depth, logits = self.network(image[half])
        total: Tensor = self.loss(depth, logits, target[half], labels[half]).total
        return total


def sharded(rank: int, folder: str) -> None:
    """Run in process ``rank``: leaves its gradients, whole, and what it predicts in bfloat16 in a file."""
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    with group_of_two(rank, folder):
        mesh = torch.distributed.init_device_mesh("cpu", (2,))
        step = Step()
        for part in step.modules():
            if isinstance(part, LateralSharingUnit):
                fully_shard(part, mesh=mesh)
        fully_shard(step, mesh=mesh)
        step(HALVES[rank]).backward()
        result = {name: parameter.grad.full_tensor() for name, parameter in step.named_parameters()}

        half = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
        network = Step().network
        # FSDP leaves buffers as they are, and batch norms want one dtype.
        for buffer in network.buffers():
            buffer.data = buffer.data.bfloat16() if buffer.is_floating_point() else buffer.data
        fully_shard(network.neck, mesh=mesh, mp_policy=half)
        fully_shard(network, mesh=mesh, mp_policy=half)
        result["depth"] = network(random(1, 3, 32, 40, seed=1).float()).depth.detach()
        torch.save(result, Path(folder, f"{rank}.pt"))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_two_processes_that_share_the_parameters(tmp_path: Path) -> None:
    torch.multiprocessing.start_processes(sharded, (str(tmp_path),), nprocs=2, start_method="fork")
    step = Step()
    (sum(step(half) for half in HALVES) / 2).backward()
    whole = Step().network.bfloat16()(random(1, 3, 32, 40, seed=1).float()).depth.detach()
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(found.pop("depth"), whole, rtol=0, atol=0.02)
        torch.testing.assert_close(found, {name: p.grad for name, p in step.named_parameters()}, rtol=1e-4, atol=1e-5)
