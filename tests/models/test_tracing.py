"""torch.fx, feature extractors that are made of it, and torch.jit.trace."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor, fx, nn
from torch.fx.experimental.proxy_tensor import make_fx

from depthattn import (
    DepthAwareLoss,
    JointGradientLoss,
    LateralSharingUnit,
    SemiDenseUpSkip,
    SynergyNet,
    UpProjection,
)

SIZES = [(1, 65, 97), (2, 64, 96), (1, 36, 100), (1, 32, 32)]


def build(encoder: str | nn.Module = "resnet18", **options: Any) -> SynergyNet:
    torch.manual_seed(0)
    model = SynergyNet(encoder, 3, **{"decoder_channels": (8, 8), **options}).eval()
    for unit in model.sharing_units:
        for row in unit.weight:
            row.data.uniform_(-0.5, 0.5)
    return model


class Strided(nn.Module):
    """An encoder that is not ours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 8, stride=8)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [self.conv(x).relu()]


NETWORKS: dict[str, tuple[str | nn.Module, dict[str, Any]]] = {
    "resnet": ("resnet18", {"encoder_skips": True}),
    "efficientnet_lite": ("efficientnet_lite0", {"sharing": "channel", "output_stride": 16}),
    "module": (Strided(), {"sharing": None, "up_skip": False}),
}
EVERY = pytest.mark.parametrize("name", NETWORKS)


def check_equal(traced: Any, model: SynergyNet, sizes: list[tuple[int, int, int]]) -> None:
    for batch, height, width in sizes:
        image = torch.rand(batch, 3, height, width)
        with torch.no_grad():
            for ours, theirs in zip(traced(image), model(image), strict=True):
                assert ours.shape == theirs.shape
                assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()


@EVERY
def test_symbolic_trace_runs_at_any_size(name: str) -> None:
    encoder, options = NETWORKS[name]
    model = build(encoder, **options)
    traced = fx.symbolic_trace(model)
    traced.graph.lint()
    check_equal(traced, model, SIZES)
    # What goes on from a graph: a copy of it, and a second trace.
    check_equal(fx.symbolic_trace(fx.GraphModule(traced, traced.graph)), model, SIZES[:1])


def test_symbolic_trace_keeps_the_checks() -> None:
    traced = fx.symbolic_trace(build())
    with pytest.raises(ValueError, match="SynergyNet: expected H and W >= 32, got 31x64"):
        traced(torch.rand(1, 3, 31, 64))


class NodePathTracer(fx.Tracer):
    """As torchvision's feature extraction walks: every node is known by the module it lies in."""

    def __init__(self) -> None:
        super().__init__()
        self.where = ""
        self.paths: dict[fx.Node, str] = {}

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        before, self.where = self.where, self.path_of_module(m)
        try:
            if self.is_leaf_module(m, self.where):
                return self.create_proxy("call_module", self.where, args, kwargs)
            return forward(*args, **kwargs)
        finally:
            self.where = before

    def create_node(self, *arguments: Any, **options: Any) -> Any:
        node = super().create_node(*arguments, **options)
        self.paths[node] = self.where
        return node


def extractor(model: nn.Module, names: dict[str, str]) -> fx.GraphModule:
    """A module that returns what the modules ``names`` put out and computes nothing else."""
    tracer = NodePathTracer()
    traced = fx.GraphModule(model, tracer.trace(model))
    graph, last = traced.graph, {}
    for node, path in zip(graph.nodes, tracer.paths.values(), strict=True):
        for name in names:
            if path == name or path.startswith(f"{name}."):
                last[name] = node
    for node in reversed(list(graph.nodes)):
        if node.op == "output":
            graph.erase_node(node)
    graph.output({label: last[name] for name, label in names.items()})
    graph.eliminate_dead_code()
    traced.recompile()
    return traced


@pytest.mark.parametrize("training", [False, True])
def test_features_of_inner_modules(training: bool) -> None:
    model = build().train(training)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.0
    names = {
        "encoder.layer2": "fine",
        "neck": "neck",
        "depth_decoder.up_projections.0": "depth",
        "semantic_decoder.up_skip": "skip",
    }
    inner = extractor(model, names)
    image, expected = torch.rand(2, 3, 65, 97), {}
    for name, label in names.items():
        model.get_submodule(name).register_forward_hook(
            lambda _, __, output, label=label: expected.__setitem__(label, output)
        )
    with torch.no_grad():
        model(image)
        found = inner(image)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[label], expected[label]) for label in found)
    # The heads are not asked for.
    assert not any("head" in str(node.target) for node in inner.graph.nodes)


@EVERY
@pytest.mark.parametrize("size", [(64, 96), (65, 97)])
def test_jit_trace_is_stored_and_runs_at_any_size(name: str, size: tuple[int, int]) -> None:
    encoder, options = NETWORKS[name]
    model = build(encoder, **options)
    file = io.BytesIO()
    torch.jit.save(torch.jit.trace(model, torch.rand(1, 3, *size)), file)
    file.seek(0)
    check_equal(torch.jit.load(file), model, SIZES)


@pytest.mark.parametrize("gate", ["scalar", "channel"])
@pytest.mark.parametrize("channels", [(8, 8), (8, 4)])
def test_jit_trace_of_a_sharing_unit(channels: tuple[int, int], gate: str) -> None:
    torch.manual_seed(0)
    unit = LateralSharingUnit(2, channels=channels, gate=gate, init=0.5)
    traced = torch.jit.trace(unit, tuple(torch.rand(1, count, 4, 6) for count in channels))
    features = tuple(torch.rand(2, count, 5, 3) for count in channels)
    for ours, theirs in zip(traced(*features), unit(*features), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-6)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
def test_jit_trace_of_losses_that_resize_runs_at_any_size() -> None:
    for loss in (DepthAwareLoss(upsample="bilinear"), JointGradientLoss(upsample="bilinear", align_corners=True)):
        traced = torch.jit.trace(loss, (torch.rand(2, 3, 4), torch.rand(2, 6, 8)))
        for sizes in (((2, 3, 4), (2, 6, 8)), ((1, 5, 4), (1, 7, 9))):
            pred, target = (torch.rand(size) for size in sizes)
            torch.testing.assert_close(traced(pred, target), loss(pred, target))


IMAGE, NARROW, TOKENS = torch.rand(2, 8, 5, 3), torch.rand(2, 4, 5, 3), torch.rand(2, 15, 8)
LAYERS: dict[str, tuple[nn.Module, tuple[Any, ...]]] = {
    "sharing": (LateralSharingUnit(init=0.3), (IMAGE, 2 * IMAGE)),
    "sharing tokens": (LateralSharingUnit(init=0.3, channel_dim=-1), (TOKENS, 2 * TOKENS)),
    "sharing by name": (LateralSharingUnit(tasks=("a", "b"), init=0.3), ({"b": IMAGE, "a": 2 * IMAGE},)),
    "sharing with adapters": (LateralSharingUnit(2, (8, 4), gate="channel", init=0.3), (IMAGE, NARROW)),
    "up-skip": (SemiDenseUpSkip([8, 4], 5), ([IMAGE, NARROW[..., :2]],)),
    "up-projection": (UpProjection(8, 4), (IMAGE,)),
}


class Inside(nn.Module):
    """A layer in a network, which unpacks what the layer returns."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, *inputs: Any) -> Any:
        return self.layer(*(inputs[place] for place in range(self.count)))


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_by_itself_and_in_a_network(name: str) -> None:
    """Traced by its code, which sees no sizes, and by what it runs."""
    layer, inputs = LAYERS[name]
    layer.eval()
    network = Inside(layer)
    network.count = len(inputs)
    wanted = layer(*inputs)
    for traced in (fx.symbolic_trace(layer), fx.symbolic_trace(network), make_fx(layer)(*inputs)):
        torch.testing.assert_close(traced(*inputs), wanted)


def test_a_traced_sharing_unit_keeps_its_checks() -> None:
    traced = fx.symbolic_trace(LateralSharingUnit(2, (8, 4)))
    with pytest.raises(ValueError, match=r"of one batch and image size, got \(2, 8, 5, 3\) and \(2, 4, 3, 5\)"):
        traced(IMAGE, NARROW.mT)
    with pytest.raises(ValueError, match="expected 2 features, one per task, got 3"):
        traced(IMAGE, NARROW, NARROW)
