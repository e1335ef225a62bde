"""torch.compile as people use it: the default compiler, a network before the loss, new sizes, training and scoring."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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
    SynergyNet,
    UpProjection,
)
from depthattn.functional import lateral_sharing, semi_dense_up_skip


class Head(nn.Module):
    """Depth in metres by an activation of its own, and what is computed of it and of the logits."""

    def __init__(self, activation: nn.Module, run: Callable[..., Tensor], *layers: nn.Module) -> None:
        super().__init__()
        self.activation, self.run, self.layers = activation, run, nn.ModuleList(layers)

    def forward(self, depth: Tensor, logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        value: Tensor = self.run(self.activation(depth) * 9, logits, target, labels)
        return value


def _with_layers() -> Head:
    share, skip = LateralSharingUnit(2, channels=(1, 4), init=0.1), SemiDenseUpSkip([1, 4], 3)

    def run(depth: Tensor, logits: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        depth, logits = share(depth, logits)
        merged: Tensor = skip([depth[:, :, ::2, ::2], logits], target.shape[1:])
        return merged.square().mean() + depth.mean()

    return Head(nn.Softplus(), run, share, skip)


def _with_scalar_gates() -> Head:
    unit = LateralSharingUnit(2, init=0.3)
    return Head(nn.ReLU(), lambda d, z, t, y: torch.stack(unit(z, z.tanh())).square().mean(), unit)


ATTENTION = AttentionDrivenLoss(DepthAwareLoss(max_depth=10.0), weights=(1.0, 0.05, 0.5))
SMALL_LOGITS = SemanticFocalLoss(upsample="bilinear")


class Network(nn.Module):
    """Convolutions with batch norm, and behind them every loss and layer; gives the value of each.

    One convolution for the depth of all heads: the compiler makes one program of their activations, not one of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5), nn.ELU())
        self.depth, self.logits = nn.Conv2d(5, 1, 1), nn.Conv2d(5, 4, 1)
        self.heads = nn.ModuleList(
            (
                Head(nn.Softplus(), lambda d, z, t, y: DepthAwareLoss()(d, t)),
                Head(nn.Sigmoid(), lambda d, z, t, y: JointGradientLoss()(d, t, labels=y)),
                Head(nn.ELU(), lambda d, z, t, y: JointGradientLoss()(d, t, semantics=t + 1)),
                Head(nn.ReLU(), lambda d, z, t, y: SemanticFocalLoss()(z, y)),
                Head(nn.ReLU(), lambda d, z, t, y: SMALL_LOGITS(z[:, :, ::2, ::2], y)),
                Head(nn.Softplus(), lambda d, z, t, y: ATTENTION(d, z, t, y).total),
                _with_scalar_gates(),
                _with_layers(),
            )
        )

    def forward(self, image: Tensor, target: Tensor, labels: Tensor) -> Tensor:
        features = self.features(image)
        depth, logits = self.depth(features), self.logits(features)
        return torch.stack([head(depth, logits, target, labels) for head in self.heads])


def batch(height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
    image = random(2, 3, height, width, seed=height).float()
    target = random(2, height, width, seed=height + 1, high=9).float()
    target[:, :2, :3] = 0
    labels = (random(2, height, width, seed=height + 2) * 4).long()
    labels[:, :, : width // 2] = 1
    labels[:, :3, :3] = -100
    return image, target, labels


def outcome(function: Callable[..., Tensor], network: Network, *inputs: Tensor) -> list[Tensor]:
    network.zero_grad()
    losses = function(*inputs)
    losses.sum().backward()
    return [losses.detach(), *(p.grad.clone() for p in network.parameters() if p.grad is not None)]


# The compiler builds some twenty small programs for a graph and its derivative, a minute of work where none is kept.
# The derivative of a convolution is compiled for one size each (PyTorch 2.13): a second size is as much work again.
@pytest.mark.parametrize(
    ("dynamic", "sizes"),
    [
        (True, [(12, 14)]),
        pytest.param(True, [(16, 11), (9, 20)], marks=pytest.mark.slow),
        pytest.param(None, [(12, 14), (16, 11), (9, 20)], marks=pytest.mark.slow),
    ],
)
@pytest.mark.filterwarnings("ignore")  # Of the compiler's own modules.
def test_network_losses_and_layers_by_the_default_compiler(dynamic: bool | None, sizes: list[tuple[int, int]]) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    network = Network()
    # Of its own accord it compiles the first size as it is, and at the second one a graph for any size.
    compiled = torch.compile(network, fullgraph=True, dynamic=dynamic)
    for size in sizes:
        inputs = batch(*size)
        for a, b in zip(outcome(compiled, network, *inputs), outcome(network, network, *inputs), strict=True):
            # A gradient is a sum over pixels and heads, whose rounding is that of its largest terms.
            torch.testing.assert_close(a, b, rtol=0, atol=1e-5 * float(b.abs().max()))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_default_compiler_without_a_gradient() -> None:
    torch._dynamo.reset()
    network = Network().eval()
    compiled = torch.compile(network, fullgraph=True)
    with torch.no_grad():
        for size in ((12, 14), (16, 11)):
            inputs = batch(*size)
            torch.testing.assert_close(compiled(*inputs), network(*inputs), rtol=1e-5, atol=1e-6)


def test_no_operator_changes_an_argument() -> None:
    names = [name for name in torch._C._dispatch_get_all_op_names() if name.startswith("depthattn::")]
    assert len(names) >= 12
    for name in names:
        schema = getattr(torch.ops.depthattn, name.partition("::")[2]).default._schema
        assert not any(argument.alias_info for argument in (*schema.arguments, *schema.returns)), name


class Labelled(Tensor):
    """Named data, as torchvision's tv_tensors are: an operation gives a plain tensor, and attributes are Python."""

    kept = (Tensor.clone, Tensor.detach, Tensor.requires_grad_, Tensor.to)

    @classmethod
    def __torch_function__(cls, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*arguments, **(options or {}))
        return result.as_subclass(Tensor) if isinstance(result, cls) and function not in cls.kept else result

    @property
    def dtype(self) -> torch.dtype:  # type: ignore[override]
        with torch._C.DisableTorchFunctionSubclass():
            return super().dtype

    @property
    def shape(self) -> torch.Size:  # type: ignore[override]
        with torch._C.DisableTorchFunctionSubclass():
            return super().shape


@pytest.mark.filterwarnings("ignore")
def test_ground_truth_of_a_class_of_its_own() -> None:
    torch._dynamo.reset()
    _, target, labels = batch(12, 14)
    depth = random(2, 12, 14, seed=1, high=9).float()

    def loss(depth: Tensor, target: Tensor, mask: Tensor, labels: Tensor) -> Tensor:
        return JointGradientLoss()(depth, target, mask, labels=labels)

    truth = target, target > 1, labels
    labelled = [x.as_subclass(Labelled) for x in truth]
    wanted = loss(depth, *truth)
    torch.testing.assert_close(loss(depth, *labelled), wanted)
    torch.testing.assert_close(torch.compile(loss, fullgraph=True)(depth, *labelled), wanted)


def test_images_and_features_of_a_class_of_its_own() -> None:
    torch._dynamo.reset()
    image, features = random(1, 3, 32, 40, seed=1).float(), random(2, 3, 5, 6, seed=2).float()
    share, skip, up = LateralSharingUnit(init=0.5), SemiDenseUpSkip([3, 3], 4), UpProjection(3, 4).eval()
    network = SynergyNet(nn.Conv2d(3, 4, 16, stride=16), 3, decoder_channels=(4,), sharing=None, up_skip=False).eval()

    def run(image: Tensor, x: Tensor) -> list[Tensor]:
        functions = lateral_sharing([x, x], torch.ones(2, 2))[1], semi_dense_up_skip([x, x], (7, 8))
        return [network(image).depth, share(x, x)[0], skip([x, x]), up(x), *functions]

    # Only the part of the compiler that reads Python sees the class.
    compiled = torch.compile(run, fullgraph=True, backend="eager")
    torch.testing.assert_close(
        compiled(image.as_subclass(Labelled), features.as_subclass(Labelled)), run(image, features)
    )


class _Maps(nn.Module):
    """Maps of the loss, behind torch.export."""

    def forward(self, depth: Tensor, target: Tensor) -> tuple[Tensor, ...]:
        return tuple(DepthAwareLoss(distance=d, reduction="none")(depth, target) for d in ("smooth_l1", "berhu"))


def test_exported_maps_take_other_sizes() -> None:
    def inputs(batch: int, height: int, width: int) -> tuple[Tensor, ...]:
        return tuple(random(2, batch, height, width, seed=batch, low=0.5, high=9).float())

    sizes = {axis: torch.export.Dim(name, min=2) for axis, name in enumerate(("batch", "height", "width"))}
    program = torch.export.export(_Maps(), inputs(3, 8, 9), dynamic_shapes=(sizes, sizes), strict=False)
    for size in ((3, 8, 9), (4, 7, 12)):
        torch.testing.assert_close(program.module()(*inputs(*size)), _Maps()(*inputs(*size)))
