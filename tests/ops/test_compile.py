"""torch.compile as people use it: the default compiler, a network before the loss, new sizes, training and scoring."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.ops.cases import random
from torch import Tensor, nn

from depthattn import (
    AttentionDrivenLoss,
    DepthAwareLoss,
    JointGradientLoss,
    LateralSharingUnit,
    SemanticFocalLoss,
    SemiDenseUpSkip,
)


class Network(nn.Module):
    """Depth in metres and logits of four classes, behind a convolution with batch norm."""

    def __init__(self, activation: nn.Module) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ELU())
        self.depth, self.logits = nn.Conv2d(5, 1, 1), nn.Conv2d(5, 4, 1)
        self.activation = activation

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(image)
        return self.activation(self.depth(features)) * 9, self.logits(features)


class Step(nn.Module):
    """A network and what is computed behind it."""

    def __init__(self, head: Callable[..., Tensor], activation: nn.Module, *layers: nn.Module) -> None:
        super().__init__()
        self.network, self.head, self.layers = Network(activation), head, nn.ModuleList(layers)

    def forward(self, image: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        return self.head(*self.network(image), target, labels)


def _with_layers() -> tuple[Callable[..., Tensor], nn.Module, nn.Module]:
    share, skip = LateralSharingUnit(2, channels=(1, 4), init=0.1), SemiDenseUpSkip([1, 4], 3)

    def head(depth: Tensor, logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        depth, logits = share(depth, logits)
        merged: Tensor = skip([depth[:, :, ::2, ::2], logits], target.shape[1:])
        return merged.square().mean() + depth.mean()

    return head, share, skip


def _scalar_unit(depth: Tensor, logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    return torch.stack(_UNIT(logits, logits.tanh())).square().mean()


_UNIT = LateralSharingUnit(2, init=0.3)
ATTENTION = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights=(1.0, 0.05, 0.5))
SMALL_LOGITS = SemanticFocalLoss(upsample="bilinear")

HEADS: dict[str, Callable[[], Step]] = {
    "depth_aware": lambda: Step(lambda d, z, t, y: DepthAwareLoss()(d, t), nn.Softplus()),
    "joint_gradient": lambda: Step(lambda d, z, t, y: JointGradientLoss()(d, t, labels=y), nn.Sigmoid()),
    "semantic_focal": lambda: Step(lambda d, z, t, y: SemanticFocalLoss()(z, y), nn.ReLU()),
    "semantic_focal_upsample": lambda: Step(lambda d, z, t, y: SMALL_LOGITS(z[:, :, ::2, ::2], y), nn.ReLU()),
    "attention_driven": lambda: Step(lambda d, z, t, y: ATTENTION(d, z, t, y).total, nn.Softplus()),
    "lateral_sharing": lambda: Step(_scalar_unit, nn.ReLU()),
    "layers": lambda: Step((parts := _with_layers())[0], nn.Softplus(), *parts[1:]),
}


def batch(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    image = random(2, 3, height, width, seed=height).float()
    target = random(2, height, width, seed=height + 1, high=9).float()
    target[:, :2, :3] = 0
    labels = (random(2, height, width, seed=height + 2) * 4).long()
    labels[:, :, : width // 2] = 1
    labels[:, :3, :3] = -100
    return image, target, labels


def outcome(function: Callable[..., Tensor], step: Step, *inputs: Tensor) -> list[Tensor]:
    step.zero_grad()
    loss = function(*inputs)
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in step.parameters() if p.grad is not None)]


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.filterwarnings("ignore")  # Of the compiler's own modules.
def test_network_and_loss_by_the_default_compiler(name: str) -> None:
    torch._dynamo.reset()
    step = HEADS[name]()
    compiled = torch.compile(step, fullgraph=True)
    # The first size is compiled as it is, the second makes the graph one for any size.
    for size in ((12, 14), (16, 11)):
        inputs = batch(*size)
        for a, b in zip(outcome(compiled, step, *inputs), outcome(step, step, *inputs), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
    step.eval()
    with torch.no_grad():
        torch.testing.assert_close(compiled(*inputs), step(*inputs), rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_dynamic_from_the_start() -> None:
    torch._dynamo.reset()
    steps = [make() for make in HEADS.values()]
    network = Network(nn.Softplus())
    together = nn.ModuleList([network, *(layer for step in steps for layer in step.layers)])

    def every(image: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        depth, logits = network(image)
        return torch.stack([step.head(depth, logits, target, labels) for step in steps]).sum()

    compiled = torch.compile(every, fullgraph=True, dynamic=True)
    for size in ((12, 14), (9, 17)):
        inputs = batch(*size)
        results = []
        for function in (compiled, every):
            together.zero_grad()
            loss = function(*inputs)
            loss.backward()
            results.append([loss.detach(), *(p.grad.clone() for p in together.parameters() if p.grad is not None)])
        for a, b in zip(*results, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_no_operator_changes_an_argument() -> None:
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("depthattn::")]
    assert len(names) >= 12
    for name in names:
        schema = getattr(torch.ops.depthattn, name.partition("::")[2]).default._schema
        assert not any(argument.alias_info for argument in (*schema.arguments, *schema.returns)), name
