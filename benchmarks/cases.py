"""The cases: what is measured, at which size, against whom, and how far ahead it is meant to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

import depthattn
from benchmarks import formulas, peers
from benchmarks.formulas import features_of
from benchmarks.inputs import NUM_CLASSES, Inputs, Source, Tensors
from benchmarks.measure import Outcome
from benchmarks.sides import Side, compiled, ours, peer, textbook
from depthattn import functional

OPERATIONS = (
    "depth_aware",
    "joint_gradient",
    "semantic_focal",
    "lateral_sharing",
    "semi_dense_up_skip",
    "attention_depth",
)
# Height and width of the scaling series, 4:3, from 0.1 to 50 megapixels.
SERIES = ((288, 384), (864, 1152), (2736, 3648), (6144, 8192))
QUICK_SERIES = ((48, 64), (96, 128))


@dataclass(frozen=True)
class Target:
    """What ``side`` is to reach against ``versus``, forward and backward together.

    ``"speed"``: at least ``expected`` times as fast; ``"memory"``: at most ``expected`` times its peak.
    """

    side: str
    versus: str
    wanted: float
    quantity: str = "speed"


@dataclass(frozen=True)
class Case:
    """A workload and its sides.

    Attributes:
        name: unique.
        operation: what ``--op`` selects by.
        title: one line for the page.
        make: the inputs.
        expected: values and gradients in float64.
        sides: everything that is measured on it.
        targets: by device type.
        backward_reads: whether the gradient depends on the inputs, so that the backward pass has to read them.
        bounds_memory: whether the peak of our sides is to be near the bytes returned.
        series: whether it belongs to the series over image sizes.
    """

    name: str
    operation: str
    title: str
    make: Callable[[Source], Inputs]
    expected: Callable[[Inputs], Outcome]
    sides: tuple[Side, ...]
    targets: dict[str, tuple[Target, ...]]
    backward_reads: bool = True
    bounds_memory: bool = True
    series: bool = False


def _faster(cpu: Sequence[Target]) -> dict[str, tuple[Target, ...]]:
    cuda = (Target("triton", "textbook", 5), Target("triton", "compiled", 1))
    return {"cpu": tuple(cpu), "cuda": cuda}


def _leaner(sides: Sequence[str], versus: str, wanted: float) -> tuple[Target, ...]:
    return tuple(Target(side, versus, wanted, "memory") for side in sides)


def _size(*numbers: int) -> str:
    return "x".join(map(str, numbers))


def _expected_of_maps(terms_of: Callable[[Tensors, Tensor], formulas.Terms], halo: int) -> Callable[[Inputs], Outcome]:
    return lambda inputs: formulas.expected_of_maps(terms_of, halo, inputs)


def _depth_aware_run(t: Tensors) -> tuple[Tensor, ...]:
    return (functional.depth_aware_loss(t["pred"], t["target"]),)


def depth_aware(shape: tuple[int, int, int]) -> Case:
    def make(source: Source) -> Inputs:
        tensors = {"pred": source.depth(shape, 0.25, 11.0), "target": source.target(shape)}
        return source.loss(tensors, "pred")

    return Case(
        name="depth_aware",
        operation="depth_aware",
        title=f"Depth-aware loss, {_size(*shape)}, 10 % holes",
        make=make,
        expected=_expected_of_maps(formulas.depth_aware_terms, 0),
        sides=(
            *ours(_depth_aware_run),
            textbook(formulas.depth_aware),
            compiled(formulas.depth_aware),
            peer(
                "torch smooth_l1_loss",
                peers.smooth_l1,
                definition="smooth L1 alone: no attention weight",
                expected=peers.smooth_l1_expected,
            ),
        ),
        targets=_faster(
            [Target("eager", "textbook", 4), Target("eager", "compiled", 1), Target("inductor", "compiled", 2)]
        ),
    )


def _joint_gradient_run(t: Tensors) -> tuple[Tensor, ...]:
    return (functional.joint_gradient_loss(t["pred"], t["target"], t.get("semantics")),)


def joint_gradient(shape: tuple[int, int, int], kind: str) -> Case:
    def make(source: Source) -> Inputs:
        semantics = source.labels(shape) if kind == "labels" else source.depth(shape, 0.25, 10.0)
        tensors = {"pred": source.depth(shape, 0.25, 11.0), "target": source.target(shape), "semantics": semantics}
        return source.loss(tensors, "pred")

    return Case(
        name=f"joint_gradient_{kind}",
        operation="joint_gradient",
        title=f"Joint gradient loss, {_size(*shape)}, with {'integer labels' if kind == 'labels' else 'a float map'}",
        make=make,
        expected=_expected_of_maps(formulas.joint_gradient_terms, 2),
        sides=(
            *ours(_joint_gradient_run),
            textbook(formulas.joint_gradient_conv2d, name="textbook (conv2d)"),
            textbook(formulas.joint_gradient),
            compiled(formulas.joint_gradient),
            peer("kornia spatial_gradient", peers.kornia_sobel),
        ),
        targets=_faster(
            [
                Target("eager", "textbook (conv2d)", 10),
                Target("eager", "compiled", 1.5),
                Target("inductor", "compiled", 2),
            ]
        ),
    )


def _semantic_focal_run(t: Tensors) -> tuple[Tensor, ...]:
    return (functional.semantic_focal_loss(t["logits"], t["labels"]),)


def semantic_focal(batch: int, size: tuple[int, int]) -> Case:
    def make(source: Source) -> Inputs:
        tensors = {"logits": source.normal(batch, NUM_CLASSES, *size), "labels": source.labels((batch, *size))}
        return source.loss(tensors, "logits")

    return Case(
        name="semantic_focal",
        operation="semantic_focal",
        title=f"Semantic focal loss, {_size(batch, NUM_CLASSES, *size)}, gamma 2, 10 % without a label",
        make=make,
        expected=lambda inputs: formulas.expected(formulas.semantic_focal, inputs),
        sides=(
            *ours(_semantic_focal_run),
            textbook(formulas.semantic_focal),
            compiled(formulas.semantic_focal),
            peer(
                "torch cross_entropy",
                peers.cross_entropy,
                definition=peers.CROSS_ENTROPY,
                expected=peers.cross_entropy_expected,
            ),
            peer("torch cross_entropy + exp", peers.focal_on_cross_entropy),
            peer(
                "kornia focal_loss",
                peers.kornia_focal,
                definition="its mean divides by pixels times classes, ignored ones included",
                expected=peers.kornia_focal_expected,
            ),
            peer("MONAI FocalLoss", peers.monai_focal),
            peer(
                "Liger cross entropy",
                peers.liger_cross_entropy,
                devices=("cuda",),
                definition=peers.CROSS_ENTROPY,
                expected=peers.cross_entropy_expected,
            ),
        ),
        targets=_faster([Target("eager", "torch cross_entropy", 1.5), Target("inductor", "torch cross_entropy", 2)]),
    )


INTERPOLATED = "torch interpolate + cross_entropy"


def _upsampled_focal_run(t: Tensors) -> tuple[Tensor, ...]:
    return (functional.semantic_focal_loss(t["logits"], t["labels"], upsample="bilinear"),)


def semantic_focal_upsampled(batch: int, low: tuple[int, int], size: tuple[int, int]) -> Case:
    def make(source: Source) -> Inputs:
        tensors = {"logits": source.normal(batch, NUM_CLASSES, *low), "labels": source.labels((batch, *size))}
        return source.loss(tensors, "logits")

    return Case(
        name="semantic_focal_upsampled",
        operation="semantic_focal",
        title=f'Semantic focal loss with upsample="bilinear", {_size(batch, NUM_CLASSES, *low)} to {_size(*size)}',
        make=make,
        expected=lambda inputs: formulas.expected(formulas.semantic_focal, inputs),
        sides=(
            *ours(_upsampled_focal_run),
            textbook(formulas.semantic_focal),
            compiled(formulas.semantic_focal),
            peer(
                INTERPOLATED,
                peers.cross_entropy,
                definition=peers.CROSS_ENTROPY,
                expected=peers.cross_entropy_expected,
            ),
        ),
        targets={
            "cpu": (Target("eager", INTERPOLATED, 2), *_leaner(("eager", "inductor"), INTERPOLATED, 0.15)),
            "cuda": (Target("triton", INTERPOLATED, 3), *_leaner(("triton",), INTERPOLATED, 0.15)),
        },
        bounds_memory=False,
    )


def _lateral_sharing_run(t: Tensors) -> tuple[Tensor, ...]:
    return functional.lateral_sharing(features_of(t), t["gates"])


def lateral_sharing(shape: tuple[int, int, int, int], tasks: int) -> Case:
    def make(source: Source) -> Inputs:
        names = [f"feature{i}" for i in range(tasks)]
        tensors = {name: source.normal(*shape) + 0.5 for name in names}
        # Gates are parameters: they stay in float32 where autocast halves the features.
        tensors["gates"] = (0.5 * torch.randn(tasks, tasks, generator=source.generator)).to(source.device)
        # The gradient of a gate is a sum over all pixels. Around a mean of zero it would cancel, and the check would
        # measure the cancellation in float32 instead of the side.
        cotangents = [source.normal(*shape) + 0.5 for _ in range(tasks)]
        return source.layer(tensors, [*names, "gates"], cotangents)

    return Case(
        name="lateral_sharing",
        operation="lateral_sharing",
        title=f"Lateral sharing, {tasks} tasks of {_size(*shape)}",
        make=make,
        expected=lambda inputs: formulas.expected(formulas.lateral_sharing, inputs),
        sides=(
            *ours(_lateral_sharing_run),
            textbook(formulas.lateral_sharing),
            compiled(formulas.lateral_sharing),
            peer("torch einsum", peers.sharing_by_einsum),
        ),
        targets=_faster([Target("eager", "textbook", 3), Target("inductor", "compiled", 1)]),
    )


def semi_dense_up_skip(channels: tuple[int, int], levels: Sequence[tuple[int, int]]) -> Case:
    size = levels[-1]

    def run(t: Tensors) -> tuple[Tensor, ...]:
        return (functional.semi_dense_up_skip(features_of(t), size),)

    def make(source: Source) -> Inputs:
        tensors = {f"feature{i}": source.normal(*channels, *level) for i, level in enumerate(levels)}
        return source.layer(tensors, list(tensors), [source.normal(*channels, *size)])

    formula = formulas.semi_dense_up_skip(size)
    return Case(
        name="semi_dense_up_skip",
        operation="semi_dense_up_skip",
        title=f"Semi-dense up-skip, {len(levels)} levels from {_size(*levels[0])} to {_size(*channels, *size)} "
        "(the textbook is the sum of F.interpolate)",
        make=make,
        expected=lambda inputs: formulas.expected(formula, inputs),
        sides=(*ours(run), textbook(formula), compiled(formula)),
        targets=_faster(
            [Target("eager", "textbook", 2.5), Target("eager", "compiled", 2.5), Target("inductor", "textbook", 3)]
        ),
        backward_reads=False,
    )


def attention_depth(shape: tuple[int, int, int]) -> Case:
    loss = depthattn.AttentionDrivenLoss()
    parts = (
        _expected_of_maps(formulas.depth_aware_terms, 0),
        _expected_of_maps(formulas.joint_gradient_terms, 2),
    )

    def one_pass(t: Tensors) -> tuple[Tensor, ...]:
        # The module's own step without its third loss, which would hide the other two.
        return loss.depth_side(t["pred"], t["target"], t["semantics"], None, t["pred"].new_ones(3))[:1]

    def two_calls(t: Tensors) -> tuple[Tensor, ...]:
        return (_depth_aware_run(t)[0] + _joint_gradient_run(t)[0],)

    def make(source: Source) -> Inputs:
        tensors = {"pred": source.depth(shape, 0.25, 11.0), "target": source.target(shape)}
        tensors["semantics"] = source.labels(shape)
        return source.loss(tensors, "pred")

    once = [Target(side, f"{side}, two calls", 1.4) for side in ("eager", "inductor")]
    return Case(
        name="attention_depth",
        operation="attention_depth",
        title=f"Depth side of the attention-driven loss, {_size(*shape)}, with labels, against two calls",
        make=make,
        expected=lambda inputs: formulas.total([part(inputs) for part in parts]),
        sides=(
            *ours(one_pass),
            *ours(two_calls, label="two calls", kind="peer"),
            textbook(formulas.attention_depth),
            compiled(formulas.attention_depth),
        ),
        targets={"cpu": tuple(once), "cuda": (Target("triton", "triton, two calls", 1.4),)},
    )


def _series(case: Case, size: tuple[int, int]) -> Case:
    """The case on one image of another size, on the sides that need no compiler for each size."""
    kept = tuple(s for s in case.sides if s.kind == "ours" or s.name == "textbook")
    megapixels = size[0] * size[1] / 1e6
    return replace(
        case,
        name=f"{case.operation}_{size[1]}x{size[0]}",
        title=f"{case.operation}, one image of {megapixels:.1f} megapixels",
        sides=kept,
        targets={},
        bounds_memory=False,
        series=True,
    )


def cases(operations: Sequence[str], *, quick: bool = False) -> list[Case]:
    """Every case of ``operations``, at the sizes of the targets or, with ``quick``, small."""
    maps = (2, 48, 64) if quick else (8, 480, 640)
    pyramid = [(8, 10), (15, 20), (30, 40), (60, 80), (120, 160)]
    table = [
        depth_aware(maps),
        joint_gradient(maps, "map"),
        joint_gradient(maps, "labels"),
        semantic_focal(1 if quick else 2, (48, 64) if quick else (480, 640)),
        semantic_focal_upsampled(
            1 if quick else 2, (12, 16) if quick else (120, 160), (48, 64) if quick else (480, 640)
        ),
        lateral_sharing((1, 16, 12, 16) if quick else (4, 128, 60, 80), tasks=2),
        semi_dense_up_skip((1, 4) if quick else (2, 64), pyramid[:3] if quick else pyramid),
        attention_depth(maps),
    ]
    for size in QUICK_SERIES if quick else SERIES:
        table += [_series(depth_aware((1, *size)), size), _series(joint_gradient((1, *size), "labels"), size)]
    selected = [case for case in table if case.operation in operations]
    # The targets speak of their sizes, and a quick run never judges a time.
    return [replace(case, targets={}, bounds_memory=False) for case in selected] if quick else selected
