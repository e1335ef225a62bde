"""SynergyNet: its wiring against a composition written out here, and how it behaves as a module."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from tests.models.networks import Pyramid, small
from torch import Tensor, nn

from depthattn import AttentionDrivenLoss, SemanticFocalLoss, SynergyNet
from depthattn.models import SynergyOutput
from depthattn.models.heads import DepthHead


def tiny(**options: Any) -> SynergyNet:
    return SynergyNet("resnet18", 5, **{"decoder_channels": (32, 16, 16, 8), **options})


def open_gates(model: SynergyNet) -> None:
    for unit in model.sharing_units:
        for row in unit.weight:
            row.data.uniform_(-0.5, 0.5)


def randomise_norms(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for value in (module.running_mean, module.running_var, module.weight.data, module.bias.data):
                value.uniform_(0.5, 1.5)


def written_out(model: SynergyNet, image: Tensor, sizes: list[tuple[int, int]]) -> tuple[Tensor, Tensor]:
    """The network from its description: encoder, neck, two decoders with sharing between them, up-skips, heads."""
    mean = torch.tensor([0.485, 0.456, 0.406], dtype=torch.float32).to(image.dtype).view(1, 3, 1, 1)
    std = torch.tensor([0.229, 0.224, 0.225], dtype=torch.float32).to(image.dtype).view(1, 3, 1, 1)
    maps = model.encoder((image - mean) / std)
    f_in = model.neck(maps[-1])
    decoders = (model.depth_decoder, model.semantic_decoder)
    states = [f_in, f_in]
    kept: list[list[Tensor]] = [[f_in], [f_in]]
    for level, size in enumerate(sizes):
        states = [decoder.up_projections[level](state, size) for decoder, state in zip(decoders, states, strict=True)]
        for task, decoder in enumerate(decoders):
            # Of each size there is one map, and of the size of the last level none.
            for feature in maps[:-1] if model.config["encoder_skips"] else ():
                if feature.shape[2:] == size:
                    conv, norm = decoder.skips[level]
                    states[task] = states[task] + norm(F.conv2d(feature, conv.weight))
            kept[task].append(states[task])
        if level < len(sizes) - 1 and len(model.sharing_units):
            rows = list(model.sharing_units[level].weight)
            states = [
                states[task] + sum(rows[task][other].view(-1, 1, 1) * states[other] for other in (0, 1))
                for task in (0, 1)
            ]
    outputs = []
    for task, decoder in enumerate(decoders):
        last = states[task]
        if decoder.up_skip is not None:
            last = sum(
                F.interpolate(project(feature), sizes[-1], mode="bilinear", align_corners=False)
                for project, feature in zip(decoder.up_skip.projections, kept[task], strict=True)
            )
            last = decoder.up_skip_norm(decoder.up_skip.smooth(last)).clamp(min=0)
        conv = decoder.head.conv if task == 0 else decoder.head
        out = F.conv2d(last, conv.weight, conv.bias, padding=1)
        if task == 0:
            out = (1 + out.exp()).log() + 1e-3
        outputs.append(F.interpolate(out, image.shape[-2:], mode="bilinear", align_corners=False))
    return outputs[0], outputs[1]


@pytest.mark.parametrize("sharing", ["scalar", "channel", None])
@pytest.mark.parametrize("up_skip", [True, False])
@pytest.mark.parametrize("encoder_skips", [True, False])
def test_wiring(sharing: Any, up_skip: bool, encoder_skips: bool) -> None:
    model = small(sharing=sharing, up_skip=up_skip, encoder_skips=encoder_skips).double().eval()
    open_gates(model)
    randomise_norms(model)
    image = torch.rand(2, 3, 65, 97, dtype=torch.float64)
    with torch.no_grad():
        depth, semantics = model(image)
        # 65 and 97 halved three times, rounding up, and back.
        expected = written_out(model, image, [(17, 25), (33, 49), (65, 97)])
    assert (depth - expected[0]).abs().max() <= 1e-10 * expected[0].abs().max()
    assert (semantics - expected[1]).abs().max() <= 1e-10 * expected[1].abs().max()


def test_encoder_skips_join_the_maps_of_one_stride() -> None:
    """A map without a level and a level without a map stay alone; of two maps of a stride the deeper one counts."""
    with torch.device("meta"):
        plain = SynergyNet("efficientnet_lite0", decoder_channels=(8, 8, 8, 8, 8), encoder_skips=True)
        fine = SynergyNet("efficientnet_lite0", decoder_channels=(8, 8, 8), output_stride=8, encoder_skips=True)
        two = SynergyNet(Pyramid((4, 4, 8, 16)), decoder_channels=(8, 8), encoder_skips=True)
    # Strides 2, 4, 8, 16 and 32: the fifth level has the size of the image.
    assert plain.depth_decoder.skip_maps == plain.semantic_decoder.skip_maps == (3, 2, 1, 0, None)
    assert [skip[0].weight.shape[:2] for skip in plain.depth_decoder.skips[:-1]] == [
        (8, channels) for channels in (112, 40, 24, 16)
    ]
    # Strides 2, 4, 8, 8 and 8.
    assert fine.depth_decoder.skip_maps == (1, 0, None)
    assert two.depth_decoder.skip_maps == (2, 1)


def test_encoder_skips_of_another_size_are_resized() -> None:
    model = SynergyNet(Pyramid((8, 16)), 5, decoder_channels=(8,), encoder_skips=True).double().eval()
    seen: list[Tensor] = []
    model.depth_decoder.skips[0].register_forward_hook(lambda _, __, output: seen.append(output))
    model.depth_decoder.up_projections[0].register_forward_hook(lambda _, __, output: seen.append(output))
    assert model.depth_decoder.up_skip is not None
    model.depth_decoder.up_skip.register_forward_pre_hook(lambda _, given: seen.append(given[0][-1]))
    # 47 is five strides of 8 and two of 16: the level has four rows.
    model(torch.rand(1, 3, 47, 64, dtype=torch.float64))
    up, skip, level = seen
    assert (skip.shape[2:], up.shape[2:]) == ((5, 8), (4, 8))
    resized = F.interpolate(skip, (4, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(level, up + resized, rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (32, 45), (100, 36)])
@pytest.mark.parametrize("build", [tiny, small])
def test_output_has_the_size_of_the_image(build: Callable[[], SynergyNet], size: tuple[int, int]) -> None:
    output = build().eval()(torch.rand(2, 3, *size))
    assert isinstance(output, SynergyOutput)
    assert output.depth.shape == (2, 1, *size)
    assert output.semantics.shape == (2, 5, *size)


@pytest.mark.parametrize(("scale", "up"), [(1, (8, 4, 4)), (2, (8, 8, 4, 4))])
def test_decoders_of_any_length(scale: int, up: tuple[int, ...]) -> None:
    # A decoder may also end at the image's own size, or beyond it.
    model = small(decoder_channels=up)
    sizes: list[tuple[int, ...]] = []
    model.depth_decoder.head.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape[-2:])))
    assert model(torch.rand(2, 3, 37, 50)).depth.shape == (2, 1, 37, 50)
    assert sizes == [(37 * scale, 50 * scale)]


@pytest.mark.parametrize(
    ("encoder", "decoder_channels", "neck"),
    [
        ("resnet50", (512, 256, 128, 64), 1024),
        ("resnet18", (512, 256, 128, 64), 256),
        ("resnet18", (32, 16, 16, 8), 64),
    ],
)
def test_neck_has_half_of_the_encoder_and_follows_a_narrow_decoder(
    encoder: str, decoder_channels: tuple[int, ...], neck: int
) -> None:
    with torch.device("meta"):
        model = SynergyNet(encoder, 40, decoder_channels=decoder_channels)
    assert model.neck[0].weight.shape == (neck, model.encoder.channels[-1], 1, 1)
    widths = [(up.in_channels, up.out_channels) for up in model.depth_decoder.up_projections]
    assert widths == list(zip((neck, *decoder_channels[:-1]), decoder_channels, strict=True))
    assert len(model.sharing_units) == len(decoder_channels) - 1


def test_default_is_the_networks_of_the_paper() -> None:
    with torch.device("meta"):
        model = SynergyNet()
    assert model.config == {
        "encoder": "resnet50",
        "num_classes": 40,
        "decoder_channels": [512, 256, 128, 64],
        "sharing": "scalar",
        "up_skip": True,
        "encoder_skips": False,
        "upsample_semantics": "always",
        "output_stride": 32,
    }
    assert model.num_classes == 40


@pytest.mark.parametrize("encoder", ["resnet18", "efficientnet_lite0"])
@pytest.mark.parametrize(("stride", "sizes"), [(16, [(5, 7), (9, 13), (17, 25)]), (8, [(9, 13), (17, 25), (33, 49)])])
def test_decoders_follow_the_stride_of_the_encoder(encoder: str, stride: Any, sizes: list[tuple[int, int]]) -> None:
    model = SynergyNet(encoder, 5, decoder_channels=(8, 4), output_stride=stride).double().eval()
    coarse = SynergyNet(encoder, 5, decoder_channels=(8, 4)).double().eval()
    model.load_state_dict(coarse.state_dict())
    found = []
    for part in (model.neck, *model.depth_decoder.up_projections):
        part.register_forward_hook(lambda _, __, output: found.append(tuple(output.shape[2:])))
    image = torch.rand(1, 3, 65, 97, dtype=torch.float64)
    with torch.no_grad():
        assert model(image).depth.shape == (1, 1, 65, 97)
        if encoder == "resnet18":
            expected = written_out(model, image, sizes[1:])
            assert (model(image).depth - expected[0]).abs().max() <= 1e-10 * expected[0].abs().max()
    assert found[:3] == sizes
    assert model.config["output_stride"] == stride


def test_logits_at_the_decoders_size_while_training() -> None:
    always, low = small(decoder_channels=(8, 4)), small(decoder_channels=(8, 4), upsample_semantics="eval")
    low.load_state_dict(always.state_dict())
    image, labels = torch.rand(2, 3, 65, 97), torch.randint(0, 5, (2, 65, 97))
    expected, output = always(image), low(image)
    assert torch.equal(output.depth, expected.depth)
    # Three halvings of 65x97, rounding up, and two doublings.
    assert output.semantics.shape == (2, 5, 33, 49)
    loss = SemanticFocalLoss(upsample="bilinear")(output.semantics, labels)
    assert torch.allclose(loss, SemanticFocalLoss()(expected.semantics, labels), rtol=1e-5, atol=0)
    low.load_state_dict(always.state_dict())
    for ours, theirs in zip(low.eval()(image), always.eval()(image), strict=True):
        assert torch.equal(ours, theirs)
    assert low.config["upsample_semantics"] == "eval"


def test_sharing_changes_nothing_at_first() -> None:
    shared, alone = small().eval(), small(sharing=None).eval()
    alone.load_state_dict({k: v for k, v in shared.state_dict().items() if not k.startswith("sharing_units")})
    image = torch.rand(1, 3, 64, 64)
    for ours, theirs in zip(shared(image), alone(image), strict=True):
        assert torch.equal(ours, theirs)


def test_gates_are_named_by_unit_and_task() -> None:
    model = tiny()
    names = [f"{to}_from_{source}" for to in ("depth", "semantics") for source in ("depth", "semantics")]
    assert list(model.gates()) == [f"sharing{unit}/{name}" for unit in (1, 2, 3) for name in names]
    model.sharing_units[1].weight[0].data[1] = 0.25
    gates = model.gates()
    assert float(gates.pop("sharing2/depth_from_semantics")) == 0.25
    assert all(float(gate) == 0.0 and not gate.requires_grad for gate in gates.values())
    assert tiny(sharing=None).gates() == {}
    assert tiny(sharing="channel").gates()["sharing1/depth_from_semantics"].shape == (32,)


def test_depth_starts_near_a_rooms_mean_and_labels_near_even() -> None:
    with torch.no_grad():
        depth, semantics = small()(torch.rand(4, 3, 64, 64))
    assert 2.2 < float(depth.mean()) < 2.8
    assert float(depth.std()) < 0.5
    assert float((semantics.softmax(1) - 0.2).abs().max()) < 0.1


def test_depth_stays_positive_and_linear() -> None:
    head = DepthHead(4)
    head.conv.weight.data.zero_()
    for bias, depth in ((-1e4, 1e-3), (0.0, 0.6931472 + 1e-3), (80.0, 80.001)):
        head.conv.bias.data.fill_(bias)
        out = head(torch.rand(1, 4, 3, 3))
        assert torch.allclose(out, torch.full((1, 1, 3, 3), depth), rtol=1e-6, atol=0)
    out = head(torch.rand(1, 4, 1, 1))
    out.sum().backward()
    assert float(head.conv.bias.grad) == 1.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_depth_head_is_exact_to_float32_for_half_precision_features(dtype: torch.dtype) -> None:
    head = DepthHead(16)
    features = (3 * torch.rand(2, 16, 6, 6)).to(dtype)
    with torch.autocast("cpu", dtype):
        depth = head(features)
    assert depth.dtype == torch.float32
    assert torch.equal(depth, head(features.float()))
    expected = copy.deepcopy(head).double()(features.double())
    # 144 products add up in float32, in any order: half a unit in the last place of each sum, all below 4.
    assert (depth - expected).abs().max() < 144 * 2**-23


def test_autocast_training_step() -> None:
    model = small()
    image = torch.rand(2, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        output = model(image)
    assert output.depth.dtype == torch.float32
    reference = model(image)
    # bfloat16 keeps eight bits of the features; of the depth, which is near 2.5 m, it would keep steps of 0.016.
    assert (output.depth - reference.depth).abs().max() < 0.016
    (output.depth.mean() + output.semantics.float().square().mean()).backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    assert all(grad is not None and bool(grad.isfinite().all()) for grad in grads.values())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_module_in_another_dtype_takes_float32_images(dtype: torch.dtype) -> None:
    depth, semantics = small().to(dtype).eval()(torch.rand(1, 3, 64, 64))
    assert depth.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert semantics.dtype == dtype


def test_copies_pickles_and_reloads() -> None:
    model = tiny().eval()
    open_gates(model)
    image = torch.rand(1, 3, 65, 47)
    rebuilt = SynergyNet(**json.loads(json.dumps(model.config))).eval()
    rebuilt.load_state_dict(model.state_dict())
    expected = model(image)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model)), rebuilt):
        for ours, theirs in zip(other(image), expected, strict=True):
            assert torch.equal(ours, theirs)


def test_frames_do_not_meet_in_eval_and_the_image_is_not_touched() -> None:
    model = small().double().eval()
    image = torch.rand(3, 3, 64, 64, dtype=torch.float64)
    before = image.clone()
    together = model(image)
    assert torch.equal(image, before)
    for index in range(3):
        for one, all_ in zip(model(image[index : index + 1]), together, strict=True):
            assert torch.allclose(one[0], all_[index], rtol=0, atol=1e-12)


def test_channels_last_gives_the_same() -> None:
    model = small().eval()
    image = torch.rand(2, 3, 64, 64)
    expected = model(image)
    other = copy.deepcopy(model).to(memory_format=torch.channels_last)
    for ours, theirs in zip(other(image.to(memory_format=torch.channels_last)), expected, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_compiles_without_a_graph_break() -> None:
    model = small(sharing="channel").double()
    open_gates(model)
    reference = copy.deepcopy(model)
    image = torch.rand(2, 3, 33, 50, dtype=torch.float64)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    for network in (compiled, reference):
        depth, semantics = network(image)
        (depth.square().sum() + semantics.square().sum()).backward()
    for (name, ours), theirs in zip(model.named_parameters(), reference.parameters(), strict=True):
        assert torch.allclose(ours.grad, theirs.grad, rtol=1e-9, atol=1e-9), name
    assert (compiled(image).depth - reference(image).depth).abs().max() < 1e-12


def test_every_parameter_learns() -> None:
    model = small()
    depth, semantics = model(torch.rand(2, 3, 33, 50))
    (depth.square().sum() + semantics.square().sum()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not bool(p.grad.any())] == []


def test_it_fits_a_scene() -> None:
    model = small(decoder_channels=(16, 16))
    rows = torch.linspace(0, 1, 32).view(1, 1, 32, 1)
    depth = (1.0 + 5.0 * rows).expand(2, 1, 32, 32).clone()
    labels = (depth[:, 0] > 3.5).long()
    image = torch.cat((rows.expand(2, 1, 32, 32), labels.unsqueeze(1).float(), torch.rand(2, 1, 32, 32)), 1)
    criterion = AttentionDrivenLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    rms = []
    for _ in range(25):
        output = model(image)
        loss = criterion(*output, depth, labels).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        rms.append(float((output.depth.detach() - depth).square().mean().sqrt()))
    # The spread of the depth itself is what a constant would leave.
    assert rms[0] > 0.95 * float(depth.std())
    assert rms[-1] < 0.5 * float(depth.std())
    assert float((output.semantics.argmax(1) == labels).float().mean()) > 0.9
