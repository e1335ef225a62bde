"""The parts of ablation.py against formulas and cases by hand."""

from __future__ import annotations

import dataclasses
import math
import statistics

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from depthattn import AttentionDrivenLoss, DepthAwareLoss, SemanticFocalLoss
from depthattn.data import Sample
from depthattn.models import SynergyOutput

ROW = [1.0, 1.0, 3.0, 3.0]


def settings(**changes):  # type: ignore[no-untyped-def]  # its types are those of a module imported below
    from ablating.settings import parse

    small = {"size": (32, 48), "decoder_channels": (8, 8), "train_frames": 6, "val_frames": 2, "epochs": 1}
    return dataclasses.replace(parse([]).settings, batch_size=2, **{**small, **changes})


def sharpness(pred: list[float], target: list[float]) -> float:
    from ablating.scores import EdgeSharpness

    edges = EdgeSharpness()
    # Two rows of one frame, whose columns have no edge.
    edges.update(*(torch.tensor([[[row, row]]]) for row in (pred, target)))
    return edges.compute()


@pytest.mark.parametrize(
    ("pred", "target", "expected"),
    [
        (ROW, ROW, 1.0),
        ([2.0, 2.0, 4.0, 4.0], ROW, 1.0),
        ([1.0, 5 / 3, 7 / 3, 3.0], ROW, 1 / 3),
        ([2.0, 2.0, 2.0, 2.0], ROW, 0.0),
        ([3.0, 3.0, 1.0, 1.0], ROW, -1.0),
        # An edge down of 1 m that is made, and one up of 3 m that is not.
        ([2.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 4.0], 0.25),
        # Beside a hole there is no edge, nor where the step is small, as a number or beside the depth.
        (ROW, [1.0, 0.0, 3.0, 3.0], math.nan),
        (ROW, [1.0, 1.0, 1.2, 1.2], math.nan),
        (ROW, [5.0, 5.0, 5.7, 5.7], math.nan),
    ],
)
def test_edge_sharpness(pred: list[float], target: list[float], expected: float) -> None:
    assert sharpness(pred, target) == pytest.approx(expected, nan_ok=True)


def test_edge_sharpness_looks_up_and_down_too_and_pools_frames() -> None:
    from ablating.scores import EdgeSharpness

    edges = EdgeSharpness()
    target = torch.tensor([[[[1.0], [3.0]]]])
    edges.update(target, target)
    # Half of a step of 6 m: with the 2 m above, 5 of 8.
    edges.update(torch.tensor([[[[1.0], [4.0]]]]), torch.tensor([[[[1.0], [7.0]]]]))
    assert edges.compute() == pytest.approx(5 / 8)


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((50, 1, 0, 4, 45), 0.1, [1, 3]),
        ((50, 1, 0, 4, 45), 0.04, [1]),
        ((50, 30, 20), 0.1, [2]),
        ((5, 5, 90), 0.1, [0, 1]),
    ],
)
def test_rarest_classes(counts: tuple[int, ...], share: float, expected: list[int]) -> None:
    from ablating.scores import rarest_classes

    assert rarest_classes(torch.tensor(counts), share) == expected


def test_scores_of_two_frames_by_hand() -> None:
    from ablating.scores import Scores

    target = torch.tensor([2.0, 5.0, 8.0, 0.0]).view(1, 1, 1, 4)
    labels = torch.tensor([0, 1, 2, 2]).view(1, 1, 4)
    logits = torch.nn.functional.one_hot(torch.tensor([0, 0, 2, 0]), 3).float().T.reshape(1, 3, 1, 4)
    scores = Scores(3, [1, 2], 9.0, torch.device("cpu"))
    scores.update(target + torch.tensor([1.0, -2.0, -4.0, 7.0]), logits, {"depth": target, "labels": labels})
    found = scores.compute()
    assert [found[f"rmse_{third}"] for third in ("near", "middle", "far")] == pytest.approx([1.0, 2.0, 4.0])
    assert found["bias_far"] == pytest.approx(-4.0)
    assert found["rmse"] == pytest.approx(math.sqrt(7.0))
    assert found["abs_rel"] == pytest.approx((1 / 2 + 2 / 5 + 4 / 8) / 3)
    # IoU 1/3, 0 and 1/2 of the three classes; the last two are rare.
    assert found["miou"] == pytest.approx((1 / 3 + 0 + 1 / 2) / 3)
    assert found["rare_iou"] == pytest.approx(1 / 4)


def test_comparison_against_the_closed_form_of_four_degrees_of_freedom() -> None:
    from ablating.statistics import compare

    before = [1.0, 2.0, 3.0, 4.0, 5.0]
    found = compare(before, [b + d for b, d in zip(before, (1.0, 2.0, 3.0, 4.0, 5.0), strict=True)])
    error = math.sqrt(2.5 / 5)
    angle = math.atan(3.0 / error / 2.0)
    assert found.p == pytest.approx(1 - math.sin(angle) * (1 + math.cos(angle) ** 2 / 2))
    # The two-sided 95 % quantile of four degrees of freedom, from the printed table.
    assert (found.mean, found.low, found.high) == pytest.approx((3.0, 3 - 2.776445 * error, 3 + 2.776445 * error))


def test_wins_count_the_way_that_is_better() -> None:
    from ablating.statistics import compare

    found = compare([1.0, 1.0, 1.0, 1.0], [0.5, 1.0, 1.5, 2.0])
    assert (found.wins(higher_is_better=True), found.wins(higher_is_better=False)) == (2, 1)


def test_no_difference_and_no_score() -> None:
    from ablating.statistics import compare

    same = compare([1.0, 2.0], [1.0, 2.0])
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    assert math.isnan(compare([math.nan, 1.0], [1.0, 2.0]).p)


def test_spread_is_that_of_a_sample() -> None:
    from ablating.statistics import spread

    values = [0.1, 0.7, 0.2, 0.9]
    assert spread(values) == pytest.approx((statistics.fmean(values), statistics.stdev(values)))


def make_batch() -> tuple[SynergyOutput, Sample]:
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 1, 12, 16, generator=generator) * 8 + 0.5
    target = torch.rand(2, 1, 12, 16, generator=generator) * 8 + 0.5
    target[torch.rand(target.shape, generator=generator) < 0.3] = 0.0
    logits = torch.randn(2, 5, 12, 16, generator=generator)
    labels = torch.randint(0, 5, (2, 12, 16), generator=generator)
    labels[:, :2] = -100
    return SynergyOutput(depth, logits), {"image": torch.zeros(2, 3, 12, 16), "depth": target, "labels": labels}


def test_baseline_is_smooth_l1_and_cross_entropy_of_the_pixels_with_truth() -> None:
    from ablating.losses import TrialLoss
    from ablating.variants import BASELINE

    output, batch = make_batch()
    d, g = (x.double().numpy()[batch["depth"].numpy() > 0] for x in (output.depth, batch["depth"]))
    error = np.abs(d - g)
    smooth = np.where(error < 1, error**2 / 2, error - 0.5).mean()
    labels = batch["labels"].numpy()
    z = np.moveaxis(output.semantics.double().numpy(), 1, -1)[labels >= 0]
    chosen = np.take_along_axis(z, labels[labels >= 0][:, None], axis=1)[:, 0]
    cross_entropy = (np.log(np.exp(z).sum(1)) - chosen).mean()
    loss = TrialLoss(BASELINE, settings(), torch.ones(5))
    assert float(loss(output, batch)) == pytest.approx(smooth + cross_entropy, rel=1e-5)


def test_the_last_loss_is_the_attention_driven_one() -> None:
    from ablating.losses import TrialLoss
    from ablating.variants import LADDER

    output, batch = make_batch()
    weights = torch.tensor([0.5, 1.0, 2.0, 1.0, 3.0])
    chosen = settings(loss_weights=(3.0, 0.25, 2.0), gamma=1.5, max_depth=9.0, detach_weight=True)
    whole = AttentionDrivenLoss(
        DepthAwareLoss(max_depth=9.0, detach_weight=True),
        semantic_focal=SemanticFocalLoss(weights, gamma=1.5),
        weights=(3.0, 0.25, 2.0),
    )
    expected = whole(output.depth, output.semantics, batch["depth"], batch["labels"]).total
    assert float(TrialLoss(LADDER[-1], chosen, weights)(output, batch)) == pytest.approx(float(expected), rel=1e-6)


def test_each_rung_has_one_piece_more() -> None:
    from ablating.variants import LADDER

    assert [sorted(variant.pieces) for variant in LADDER[:3]] == [
        [], ["depth_aware"], ["depth_aware", "joint_gradient"],
    ]  # fmt: skip
    assert [len(variant.pieces) for variant in LADDER] == [0, 1, 2, 3, 4, 5]


def test_variants_start_from_the_same_weights_and_predict_the_same_until_they_share() -> None:
    from ablating.network import build_model
    from ablating.variants import LADDER

    models = [build_model(variant, 5, settings(), seed=3) for variant in LADDER]
    common = models[0].state_dict()
    for model in models[1:]:
        state = model.state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in common.items())
    assert len(models[-1].state_dict()) > len(models[-2].state_dict()) > len(common)
    other = build_model(LADDER[0], 5, settings(), seed=4).state_dict()
    assert not torch.equal(other["neck.0.weight"], common["neck.0.weight"])


class Watched(Dataset[Sample]):
    """Notes the frames that it gives."""

    def __init__(self, frames: Dataset[Sample]) -> None:
        self.frames = frames
        self.given: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, index: int) -> Sample:
        sample = self.frames[index]
        self.given.append(sample["image"])
        return sample


def test_variants_see_the_same_frames_augmented_in_the_same_way() -> None:
    from ablating.frames import open_frames
    from ablating.trial import run_trial
    from ablating.variants import LADDER

    chosen = settings(epochs=2)
    frames = open_frames(chosen, 7)
    seen = []
    for variant, seed in ((LADDER[0], 1), (LADDER[-1], 1), (LADDER[0], 2)):
        watched = Watched(frames.train)
        run_trial(variant, seed, dataclasses.replace(frames, train=watched), chosen, lambda share: None)
        seen.append(torch.stack(watched.given))
    assert len(seen[0]) == 12
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    assert not torch.equal(seen[0][:6], seen[0][6:])


def test_frames_count_the_classes_and_differ_between_seeds() -> None:
    from ablating.frames import open_frames

    frames = open_frames(settings(), 0)
    assert int(frames.class_counts.sum()) == 6 * 32 * 48
    images = [frames.train.frames[0]["image"], frames.validation[0]["image"]]
    images.append(open_frames(settings(), 1).train.frames[0]["image"])
    assert not any(torch.equal(images[a], images[b]) for a, b in ((0, 1), (0, 2), (1, 2)))
