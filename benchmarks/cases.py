"""The cases: what is measured, at which size, against whom, and how far ahead it is meant to be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

import depthattn
from benchmarks import formulas, peers
from benchmarks.formulas import features_of
from benchmarks.inputs import NUM_CLASSES, Inputs, Source, Tensors
from benchmarks.measure import Outcome
from benchmarks.sides import REFERENCE, Side, compiled, naive, ours, peer, reference
from benchmarks.targets import Target
from depthattn import functional

OPERATIONS = (
    "depth_aware",
    "joint_gradient",
    "semantic_focal",
    "lateral_sharing",
    "semi_dense_up_skip",
    "attention_depth",
)
# Height and width of the series over sizes, 4:3, from 0.1 to 50 megapixels.
SIZES = ((288, 384), (864, 1152), (2736, 3648), (6144, 8192))
QUICK_SIZES = ((48, 64), (96, 128))
# Where the price of a call shows.
SMALL = ((2, 8, 8), (2, 60, 80))


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
        targets: by device type, and ``"busy"`` for a CPU with other processes at work.
        backward_reads: whether the gradient depends on the inputs, so that the backward pass has to read them.
        bounds_memory: whether the peak of our kernels is to be near the bytes returned.
        group: ``"main"``, ``"sizes"`` for the series over image sizes, or ``"small"``.
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
    group: str = "main"


def _targets(
    cpu: Sequence[Target],
    busy: Sequence[Target] = (),
    cuda: Sequence[Target] = (Target("triton", "naive", 5), Target("triton", "compiled", 1)),
) -> dict[str, tuple[Target, ...]]:
    return {"cpu": tuple(cpu), "busy": tuple(busy), "cuda": tuple(cuda)}


def _size(*numbers: int) -> str:
    return "x".join(map(str, numbers))


def _expected_of_maps(terms_of: Callable[[Tensors, Tensor], formulas.Terms], halo: int) -> Callable[[Inputs], Outcome]:
    return lambda inputs: formulas.expected_of_maps(terms_of, halo, inputs)


SMOOTH_L1 = "torch smooth_l1_loss"
CROSS_ENTROPY = "torch cross_entropy"
INTERPOLATED = "torch interpolate + cross_entropy"


def _smooth_l1() -> Side:
    return peer(SMOOTH_L1, peers.smooth_l1, definition=peers.SMOOTH_L1, expected=peers.smooth_l1_expected)


def _cross_entropy(name: str) -> Side:
    return peer(
        name, peers.cross_entropy, definition=peers.CROSS_ENTROPY, expected=peers.cross_entropy_expected
    )  # fmt: skip


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
            reference(_depth_aware_run),
            naive(formulas.depth_aware),
            compiled(formulas.depth_aware),
            _smooth_l1(),
        ),
        targets=_targets(
            [Target("cpu", "compiled", 4), Target("cpu", SMOOTH_L1, 1.5, "time")],
            [Target("cpu", SMOOTH_L1, 2, "time")],
        ),
    )


def _joint_gradient_run(t: Tensors) -> tuple[Tensor, ...]:
    return (
        functional.joint_gradient_loss(t["pred"], t["target"], labels=t.get("labels"), semantics=t.get("semantics")),
    )


def joint_gradient(shape: tuple[int, int, int], kind: str) -> Case:
    def make(source: Source) -> Inputs:
        semantics = source.labels(shape) if kind == "labels" else source.depth(shape, 0.25, 10.0)
        tensors = {"pred": source.depth(shape, 0.25, 11.0), "target": source.target(shape), kind: semantics}
        return source.loss(tensors, "pred")

    return Case(
        name=f"joint_gradient_{kind}",
        operation="joint_gradient",
        title=f"Joint gradient loss, {_size(*shape)}, with {'integer labels' if kind == 'labels' else 'a float map'}",
        make=make,
        expected=_expected_of_maps(formulas.joint_gradient_terms, 2),
        sides=(
            *ours(_joint_gradient_run),
            reference(_joint_gradient_run),
            naive(formulas.joint_gradient_conv2d),
            compiled(formulas.joint_gradient),
            peer("kornia spatial_gradient", peers.kornia_sobel),
            _smooth_l1(),
        ),
        targets=_targets(
            [Target("cpu", "naive", 15), Target("cpu", "compiled", 8)], [Target("cpu", "naive", 8)]
        ),
    )  # fmt: skip


def _semantic_focal_run(t: Tensors) -> tuple[Tensor, ...]:
    return (functional.semantic_focal_loss(t["logits"], t["labels"]),)


def semantic_focal(shape: tuple[int, int, int]) -> Case:
    batch, *size = shape

    def make(source: Source) -> Inputs:
        tensors = {"logits": source.normal(batch, NUM_CLASSES, *size), "labels": source.labels(shape)}
        return source.loss(tensors, "logits")

    return Case(
        name="semantic_focal",
        operation="semantic_focal",
        title=f"Semantic focal loss, {_size(batch, NUM_CLASSES, *size)}, gamma 2, 10 % without a label",
        make=make,
        expected=lambda inputs: formulas.expected(formulas.semantic_focal, inputs),
        sides=(
            *ours(_semantic_focal_run),
            reference(_semantic_focal_run),
            naive(formulas.semantic_focal),
            compiled(formulas.semantic_focal),
            _cross_entropy(CROSS_ENTROPY),
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
        targets=_targets([Target("cpu", CROSS_ENTROPY, 2.5)], [Target("cpu", CROSS_ENTROPY, 2)]),
    )


def _upsampled_focal_run(t: Tensors) -> tuple[Tensor, ...]:
    return (functional.semantic_focal_loss(t["logits"], t["labels"], upsample="bilinear"),)


def semantic_focal_upsampled(shape: tuple[int, int, int]) -> Case:
    """On logits of a quarter of the height and width."""
    batch, *size = shape
    low = [n // 4 for n in size]

    def make(source: Source) -> Inputs:
        tensors = {"logits": source.normal(batch, NUM_CLASSES, *low), "labels": source.labels(shape)}
        return source.loss(tensors, "logits")

    return Case(
        name="semantic_focal_upsampled",
        operation="semantic_focal",
        title=f'Semantic focal loss with upsample="bilinear", {_size(batch, NUM_CLASSES, *low)} to {_size(*size)}',
        make=make,
        expected=lambda inputs: formulas.expected(formulas.semantic_focal, inputs),
        sides=(
            *ours(_upsampled_focal_run),
            reference(_upsampled_focal_run),
            naive(formulas.semantic_focal),
            compiled(formulas.semantic_focal),
            _cross_entropy(INTERPOLATED),
        ),
        targets=_targets(
            [Target("cpu", INTERPOLATED, 3), Target("cpu", INTERPOLATED, 0.1, "memory")],
            [Target("cpu", INTERPOLATED, 2)],
            [Target("triton", INTERPOLATED, 3), Target("triton", INTERPOLATED, 0.15, "memory")],
        ),
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
            reference(_lateral_sharing_run),
            naive(formulas.lateral_sharing),
            compiled(formulas.lateral_sharing),
            peer("torch einsum", peers.sharing_by_einsum),
        ),
        targets=_targets(
            [Target("cpu", "naive", 6), Target("cpu", "copy", 0.75, "bandwidth"), Target("cpu", "compiled", 1)],
            [Target("cpu", "naive", 4)],
        ),
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
        "(naive: the sum of F.interpolate)",
        make=make,
        expected=lambda inputs: formulas.expected(formula, inputs),
        sides=(*ours(run), reference(run), naive(formula), compiled(formula)),
        targets=_targets([Target("cpu", "naive", 4)], [Target("cpu", "naive", 3)]),
        backward_reads=False,
    )


def _attention_depth_run(loss: depthattn.AttentionDrivenLoss, t: Tensors) -> tuple[Tensor, ...]:
    # The module's own step without its third loss, which would hide the other two.
    return loss.depth_side(t["pred"], t["target"], t["labels"], None, t["pred"].new_ones(2))[:1]


def attention_depth(shape: tuple[int, int, int]) -> Case:
    one_pass = partial(_attention_depth_run, depthattn.AttentionDrivenLoss())
    parts = (
        _expected_of_maps(formulas.depth_aware_terms, 0),
        _expected_of_maps(formulas.joint_gradient_terms, 2),
    )

    def two_calls(t: Tensors) -> tuple[Tensor, ...]:
        return (_depth_aware_run(t)[0] + _joint_gradient_run(t)[0],)

    def make(source: Source) -> Inputs:
        tensors = {"pred": source.depth(shape, 0.25, 11.0), "target": source.target(shape)}
        tensors["labels"] = source.labels(shape)
        return source.loss(tensors, "pred")

    return Case(
        name="attention_depth",
        operation="attention_depth",
        title=f"Depth side of the attention-driven loss, {_size(*shape)}, with labels, against two calls",
        make=make,
        expected=lambda inputs: formulas.total([part(inputs) for part in parts]),
        sides=(
            *ours(one_pass),
            *ours(two_calls, label="two calls", kind="peer"),
            reference(one_pass),
            naive(formulas.attention_depth),
            compiled(formulas.attention_depth),
            _smooth_l1(),
        ),
        targets=_targets(
            [Target("cpu", "cpu, two calls", 1.4)], cuda=[Target("triton", "triton, two calls", 1.4)]
        ),
    )  # fmt: skip


def _of_size(case: Case, size: tuple[int, int]) -> Case:
    """The case on one image of another size, by our kernels alone: nothing else is cheap at 50 megapixels."""
    megapixels = size[0] * size[1] / 1e6
    return replace(
        case,
        name=f"{case.name}_{size[1]}x{size[0]}",
        title=f"{case.operation}, one image of {megapixels:.1f} megapixels",
        sides=tuple(side for side in case.sides if side.kind == "ours"),
        targets={},
        group="sizes",
    )


def _small(case: Case, shape: tuple[int, int, int]) -> Case:
    """The case on a few pixels, where our call is to cost at most four times a call of PyTorch."""
    versus = next(side.name for side in case.sides if side.name in (SMOOTH_L1, CROSS_ENTROPY, INTERPOLATED))
    return replace(
        case,
        name=f"{case.name}_{_size(*shape)}",
        sides=tuple(side for side in case.sides if side.kind in ("ours", REFERENCE) or side.name == versus),
        targets=_targets([Target("cpu", versus, 4, "time")], cuda=()),
        bounds_memory=False,
        group="small",
    )


def _losses(shape: tuple[int, int, int]) -> list[Case]:
    return [
        depth_aware(shape),
        joint_gradient(shape, "semantics"),
        joint_gradient(shape, "labels"),
        semantic_focal(shape),
        semantic_focal_upsampled(shape),
        attention_depth(shape),
    ]


def cases(operations: Sequence[str], *, quick: bool = False) -> list[Case]:
    """Every case of ``operations``, at the sizes of the targets or, with ``quick``, small."""
    maps, logits = ((2, 48, 64), (1, 48, 64)) if quick else ((8, 480, 640), (2, 480, 640))
    pyramid = [(8, 10), (15, 20), (30, 40), (60, 80), (120, 160)]
    table = [
        depth_aware(maps),
        joint_gradient(maps, "semantics"),
        joint_gradient(maps, "labels"),
        semantic_focal(logits),
        semantic_focal_upsampled(logits),
        lateral_sharing((1, 16, 12, 16) if quick else (4, 128, 60, 80), tasks=2),
        semi_dense_up_skip((1, 4) if quick else (2, 64), pyramid[:3] if quick else pyramid),
        attention_depth(maps),
    ]
    for shape in SMALL[:1] if quick else SMALL:
        table += [_small(case, shape) for case in _losses(shape)]
    for size in QUICK_SIZES if quick else SIZES:
        table += [_of_size(case, size) for case in (depth_aware((1, *size)), joint_gradient((1, *size), "labels"))]
    selected = [case for case in table if case.operation in operations]
    # The targets speak of their sizes, and a quick run never judges a time.
    return [replace(case, targets={}, bounds_memory=False) for case in selected] if quick else selected
