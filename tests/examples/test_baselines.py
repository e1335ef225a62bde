"""The baselines beside the result, against hand-computed cases and a simulation."""

from __future__ import annotations

import math

import pytest
import torch

from depthattn.metrics import SegmentationMetrics


def test_constant_depth_is_fitted_on_training_and_scored_on_validation() -> None:
    from training.baselines import baselines, training_statistics

    training = [{"image": torch.zeros(1, 3, 1, 3), "depth": torch.tensor([[[[1.0, 3.0, 0.0]]]]),
                 "labels": torch.tensor([[[0, 1, -100]]])}]  # fmt: skip
    validation = [{"image": torch.zeros(1, 3, 1, 3), "depth": torch.tensor([[[[2.0, 5.0, 0.0]]]]),
                   "labels": torch.tensor([[[0, 0, 0]]])}]  # fmt: skip
    statistics = training_statistics(training, 2, max_depth=10.0)
    result = baselines(statistics, validation, max_depth=10.0)
    assert result.depth == 2.0
    assert result.rmse == pytest.approx(math.sqrt((0 + 9) / 2))
    # Class 0 fills the truth and half of what is drawn; class 1 is drawn in vain.
    assert result.miou == pytest.approx((0.5 + 0.0) / 2)


def test_no_truth_has_no_baseline() -> None:
    from training.baselines import baselines, training_statistics

    empty = [
        {"image": torch.zeros(1, 3, 1, 2), "depth": torch.zeros(1, 1, 1, 2), "labels": torch.full((1, 1, 2), -100)}
    ]
    result = baselines(training_statistics(empty, 2, max_depth=10.0), empty, max_depth=10.0)
    assert math.isnan(result.depth)
    assert math.isnan(result.rmse)
    assert math.isnan(result.miou)


def test_chance_is_what_drawing_labels_gives() -> None:
    from training.baselines import chance_miou

    generator = torch.Generator().manual_seed(0)
    truth = torch.tensor([0, 1, 2]).repeat_interleave(torch.tensor([600_000, 300_000, 100_000]))
    drawn = torch.multinomial(torch.tensor([0.5, 0.2, 0.2, 0.1]), len(truth), replacement=True, generator=generator)
    scores = SegmentationMetrics(4)
    scores.update(drawn[None], truth[None])
    expected = chance_miou(torch.tensor([6, 3, 1, 0]), torch.tensor([5, 2, 2, 1]))
    assert float(scores.compute()["miou"]) == pytest.approx(expected, rel=0.01)
