"""The parts of ablation.py against formulas and cases by hand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from depthattn.data import Sample


def settings(**changes):  # type: ignore[no-untyped-def]  # its types are those of a module imported below
    from ablating.settings import parse

    small = {
        "size": (32, 64),
        "output_stride": 16,
        "decoder_channels": (8, 8),
        "train_frames": 6,
        "val_frames": 2,
        "epochs": 1,
    }
    plain = parse(["--encoder-weights", "none"]).settings
    return dataclasses.replace(plain, batch_size=2, **{**small, **changes})


def arrays(batch):  # type: ignore[no-untyped-def]  # a tuple of tensors, as arrays in double precision
    return [x.double().numpy() for x in batch]


def make_batch() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Depth, logits, true depth and labels, with holes in both truths."""
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 1, 12, 16, generator=generator) * 8 + 0.5
    target = torch.rand(2, 1, 12, 16, generator=generator) * 8 + 0.5
    target[torch.rand(target.shape, generator=generator) < 0.3] = 0.0
    logits = torch.randn(2, 5, 12, 16, generator=generator)
    labels = torch.randint(0, 5, (2, 12, 16), generator=generator)
    labels[:, :2] = -100
    return depth, logits, target, labels


@pytest.mark.parametrize("attention", ["none", "alpha", "lambda", "both"])
def test_attention_of_each_kind_times_smooth_l1(attention: str) -> None:
    from ablating.losses import VariantLoss
    from ablating.variants import BASE

    depth, logits, target, labels = make_batch()
    p, g, _ = arrays((depth, target, target))
    p, g = p[target.numpy() > 0], g[target.numpy() > 0]
    error = np.abs(p - g)
    smooth = np.where(error < 1, error**2 / 2, error - 0.5)
    logs = np.log(p + 1), np.log(g + 1)
    alpha, lambda_ = g / 9.0, 1 - np.minimum(*logs) / np.maximum(*logs)
    factor = {"none": 1.0, "alpha": alpha, "lambda": lambda_, "both": alpha + lambda_}[attention]
    variant = dataclasses.replace(BASE, attention=attention, depth_weight=2.0, label_weight=0.0)
    total = VariantLoss(variant, 9.0, torch.ones(5))(depth, logits, target, labels)
    assert float(total) == pytest.approx(2.0 * (factor * smooth).mean(), rel=1e-5)


@pytest.mark.parametrize(("gamma", "weighted"), [(0.0, False), (2.0, False), (0.0, True), (2.0, True)])
def test_loss_on_labels_alone(gamma: float, weighted: bool) -> None:
    from ablating.losses import VariantLoss
    from ablating.variants import BASE

    depth, logits, target, labels = make_batch()
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0, 3.0])
    y = labels.numpy()
    z = np.moveaxis(logits.double().numpy(), 1, -1)[y >= 0]
    p = np.exp(np.take_along_axis(z, y[y >= 0][:, None], axis=1)[:, 0]) / np.exp(z).sum(1)
    expected = ((weights.numpy()[y[y >= 0]] if weighted else 1.0) * -((1 - p) ** gamma) * np.log(p)).mean()
    variant = dataclasses.replace(BASE, depth_weight=0.0, label_weight=0.3, gamma=gamma, class_weights=weighted)
    total = VariantLoss(variant, 10.0, weights)(depth, logits, target, labels)
    assert float(total) == pytest.approx(0.3 * expected, rel=1e-5)


def filtered(x: np.ndarray, across: list[list[int]]) -> float:  # type: ignore[type-arg]
    """|filter across| + |filter down| of one window."""
    return sum(abs(float((kernel * x).sum())) for kernel in (np.array(across), np.array(across).T))


def sobel(x: np.ndarray) -> float:  # type: ignore[type-arg]
    return filtered(x, [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])


def second_differences(x: np.ndarray) -> float:  # type: ignore[type-arg]
    return filtered(x, [[1, -2, 1], [2, -4, 2], [1, -2, 1]])


def step(x: np.ndarray) -> float:  # type: ignore[type-arg]
    return max(0.0, sobel(x) - 0.8 * float(x[1, 1]))


@pytest.mark.parametrize(
    ("term", "inside_a_class"),
    [("flat", sobel), ("planar", second_differences), ("steps", step), (None, lambda x: 0.0)],
)
def test_gradient_loss_with_each_term_on_labels(term: str | None, inside_a_class: Callable[[Any], float]) -> None:
    from ablating.losses import VariantLoss
    from ablating.variants import BASE

    depth, logits, target, labels = make_batch()
    # Two classes and a block without labels, so that some windows lie inside of one.
    labels[:] = (torch.arange(16) >= 6).long()
    labels[0, :5, 11:] = -100
    p, g = (x[:, 0] for x in arrays((depth, target)))
    windows = [np.s_[b, i : i + 3, j : j + 3] for b in range(2) for i in range(10) for j in range(14)]
    true = [sobel((p - g)[w]) for w in windows if (g[w] > 0).all()]
    inside = [inside_a_class(p[w]) for w in windows if set(np.unique(labels.numpy()[w])) in ({0}, {1})]
    variant = dataclasses.replace(BASE, depth_weight=0.0, label_weight=0.0, gradient_weight=0.25, label_term=term)
    total = VariantLoss(variant, 10.0, torch.ones(5))(depth, logits, target, labels)
    assert float(total) == pytest.approx(0.25 * (np.mean(true) + np.mean(inside)), rel=1e-5)


def test_a_plane_is_planar_and_a_slope_is_no_step() -> None:
    from ablating.label_terms import planar, steps

    rows, columns = torch.meshgrid(torch.arange(8.0), torch.arange(9.0), indexing="ij")
    slope, labels = (3 + 0.1 * rows - 0.05 * columns)[None, None], torch.zeros(1, 8, 9, dtype=torch.long)
    assert float(planar(slope, labels)) == pytest.approx(0, abs=1e-5)
    assert float(steps(slope, labels)) == 0
    torn = torch.where(columns < 5, slope, slope + 2)
    assert float(steps(torn, labels)) > 1
    # The step is a boundary of classes there: no window has both sides.
    assert float(steps(torn, (columns[None] >= 5).long())) == 0
    # No class anywhere: 0, not 0 / 0.
    assert float(planar(torn, labels - 100)) == 0


def test_each_rung_has_one_component_more_and_every_comparison_one_change() -> None:
    from ablating.variants import FAMILIES, LADDER, variants_of

    components = {
        "depth_aware": {"depth_weight", "attention"},
        "joint_gradient": {"gradient_weight"},
        "semantic_focal": {"gamma", "class_weights"},
        "sharing": {"sharing"},
        "up_skip": {"up_skip"},
    }
    for before, after in pairwise(LADDER):
        assert changed(before, after) == components[after.key]
    variants = variants_of(FAMILIES)
    assert variants[: len(LADDER)] == LADDER
    assert len({variant.key for variant in variants}) == len(variants)
    for family in FAMILIES[2:]:
        for pair in family.comparisons:
            one = changed(pair.reference, pair.variant) - {"label_term"}
            assert len(one) <= 1 or pair.variant.key in ("labels_only", "plain_sum"), pair.title


def changed(before, after) -> set[str]:  # type: ignore[no-untyped-def]  # two variants
    one, other = dataclasses.asdict(before), dataclasses.asdict(after)
    return {name for name, value in one.items() if other[name] != value} - {"key", "title"}


def test_variants_start_from_the_same_weights() -> None:
    from ablating.network import build_model
    from ablating.variants import LADDER, UP_SKIP

    chosen = settings()
    plain, whole = (build_model(variant, 5, chosen, seed=3).net.state_dict() for variant in (LADDER[0], UP_SKIP))
    assert all(torch.equal(whole[name], tensor) for name, tensor in plain.items())
    assert len(whole) > len(plain)
    other = build_model(LADDER[0], 5, chosen, seed=4).net.state_dict()
    assert not torch.equal(other["neck.0.weight"], plain["neck.0.weight"])


@pytest.mark.parametrize("blocks", [0, 1, 3, 16])
def test_frozen_and_trained_part_make_the_whole_network(blocks: int) -> None:
    from ablating.network import build_model
    from ablating.variants import BASE

    model = build_model(BASE, 5, settings(trained_blocks=blocks), seed=0).eval()
    image = torch.rand(2, 3, 32, 64)
    with torch.no_grad():
        whole = model.net(image)
        parts = model(model.frozen_features(image), (32, 64))
    for one, other in zip(whole, parts, strict=True):
        assert other.shape[2:] == (8, 16)
        torch.testing.assert_close(one, torch.nn.functional.interpolate(other, (32, 64), mode="bilinear"))
    trained = {name.split(".")[2] for name, _ in model.trained() if name.startswith("encoder.blocks.")}
    assert trained == {str(number) for number in range(16 - blocks, 16)}
    assert all(value.requires_grad for name, value in model.net.named_parameters() if "encoder" not in name)


def test_too_many_trained_blocks() -> None:
    from ablating.network import build_model
    from ablating.variants import BASE

    with pytest.raises(ValueError, match="--trained-blocks: expected at most 16, got 17"):
        build_model(BASE, 5, settings(trained_blocks=17), seed=0)


class Ramps(Dataset[Sample]):
    """Frames that say which they are, brighter to the right."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Sample:
        ramp = torch.linspace(0.1, 0.9, 64).expand(32, 64)
        return {
            "image": ramp.expand(3, 32, 64) - 0.02 * index,
            "depth": (ramp + index)[None],
            "labels": (ramp > 0.5).long(),
        }


def test_features_of_both_views_and_batches_that_match_their_truth() -> None:
    from ablating.features import compute_features
    from ablating.network import build_model
    from ablating.variants import BASE

    model = build_model(BASE, 2, settings(), seed=0)
    counted: list[int] = []
    features = compute_features(model, Ramps(), 4, mirrored=True, on_frame=counted.append)
    assert counted == [5]
    image = Ramps()[3]["image"][None]
    for view, shown in enumerate((image, image.flip(-1))):
        torch.testing.assert_close(
            features.maps[3, view].float(), model.frozen_features(shown)[0], rtol=1e-2, atol=1e-3
        )
    maps, depth, labels = features.batch(torch.tensor([3, 1]), torch.tensor([True, False]), torch.device("cpu"))
    assert torch.equal(maps, torch.stack([features.maps[3, 1], features.maps[1, 0]]).float())
    seen = [{name: value[..., 2::4, 2::4] for name, value in Ramps()[index].items()} for index in (3, 1)]  # type: ignore[index]
    assert torch.equal(depth, torch.stack([seen[0]["depth"].flip(-1), seen[1]["depth"]]))
    assert torch.equal(labels, torch.stack([seen[0]["labels"].flip(-1), seen[1]["labels"]]))


def test_an_epoch_has_every_frame_once_in_the_order_of_the_seed() -> None:
    from ablating.features import Features

    numbers = torch.arange(7.0).view(7, 1, 1, 1)
    features = Features(numbers.view(7, 1, 1, 1, 1).expand(7, 2, 1, 1, 1).half(), numbers, numbers[:, 0].short())

    def epoch(seed: int) -> list[float]:
        batches = features.training_batches(2, torch.Generator().manual_seed(seed), torch.device("cpu"))
        return [float(number) for maps, depth, labels in batches for number in depth.flatten() if maps.shape[0] == 2]

    assert len(epoch(0)) == len(set(epoch(0))) == 6
    assert epoch(0) == epoch(0) != epoch(1)
    plain = [depth.flatten().tolist() for _, depth, _ in features.batches(4, torch.device("cpu"))]
    assert plain == [[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def test_a_trial_trains_what_it_says_and_nothing_else() -> None:
    from ablating import trial
    from ablating.features import compute_features
    from ablating.network import build_model, target_stride
    from ablating.variants import BASE, SHARING

    chosen = settings(trained_blocks=1)
    model = build_model(BASE, 2, chosen, seed=0)
    features = compute_features(model, Ramps(), target_stride(chosen), mirrored=True, on_frame=lambda done: None)
    task = trial.Task(features, features, torch.tensor([900, 100]), (1.0, 2.0))
    built = []
    build = trial.build_model

    def kept(*arguments):  # type: ignore[no-untyped-def]  # build_model's own types
        built.append(build(*arguments))
        return built[-1]

    trial.build_model = kept
    try:
        both = trial.run_trial(SHARING, 0, task, chosen, lambda share: None)
        again = trial.run_trial(SHARING, 0, task, chosen, lambda share: None)
        depth = trial.run_trial(dataclasses.replace(BASE, label_weight=0.0), 0, task, chosen, lambda share: None)
    finally:
        trial.build_model = build
    assert both == pytest.approx(again, rel=0, abs=0, nan_ok=True)
    assert "miou" in both
    assert "gate/sharing1/depth_from_semantics" in both
    assert "miou" not in depth
    before, after = build(SHARING, 2, chosen, 0).net.state_dict(), built[0].net.state_dict()
    moved = {name for name, value in after.items() if not torch.equal(value, before[name])}
    assert not any(name.startswith("encoder.") for name in moved if not name.startswith("encoder.blocks.15."))
    assert any(name.startswith("encoder.blocks.15.") for name in moved)
    assert any(name.startswith("sharing_units.") for name in moved)


def test_held_out_frames_are_training_frames_that_are_not_trained_on() -> None:
    from ablating.frames import open_frames

    plain, held = (
        open_frames(settings(train_frames=20)),
        open_frames(settings(train_frames=20, hold_out=True, val_frames=None)),
    )
    images = [frame["image"] for frame in map(plain.train.__getitem__, range(20))]
    assert (len(held.train), len(held.validation)) == (18, 2)
    # The last tenth: one block.
    assert all(torch.equal(held.train[index]["image"], images[index]) for index in range(18))
    assert all(torch.equal(held.validation[index]["image"], images[18 + index]) for index in range(2))
