"""In one MetricCollection, metrics of different options keep their own states, whatever the first batch looks like."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

from depthattn.metrics import ConstantDepthBaseline, DepthBinnedMetrics, DepthMetrics, SegmentationMetrics

# Of each metric one with the defaults, and some with one other option.
DEPTH: dict[str, Callable[[], Any]] = {
    "defaults": DepthMetrics,
    "pixels": lambda: DepthMetrics(pooling="pixels"),
    "smaller": lambda: DepthMetrics(max_depth=5.0),
    "hardly smaller": lambda: DepthMetrics(max_depth=9.9999),
    "no limit": lambda: DepthMetrics(max_depth=None),
    "larger minimum": lambda: DepthMetrics(min_depth=0.5),
    "bins": lambda: DepthBinnedMetrics((0.0, 5.0, 10.0)),
    "other bins": lambda: DepthBinnedMetrics((0.0, 6.0, 10.0)),
    "bins as far": lambda: DepthBinnedMetrics((0.0, 5.0, 20.0)),
}
LABELS: dict[str, Callable[[], Any]] = {
    "defaults": lambda: SegmentationMetrics(4),
    "ignores 3": lambda: SegmentationMetrics(4, ignore_index=3),
    "ignores 255": lambda: SegmentationMetrics(4, ignore_index=255),
}
CONSTANTS: dict[str, Callable[[], Any]] = {
    "defaults": ConstantDepthBaseline,
    "smaller": lambda: ConstantDepthBaseline(max_depth=5.0),
}

Batch = tuple[Tensor, ...]


def batches(kind: str) -> tuple[Batch, Batch]:
    """The first leaves all metrics of a kind with the same sums and counts; the second does not."""
    if kind == "depth":
        # One pixel, whose scores are their own mean over pixels and images, inside every range and first bin.
        far = torch.tensor([[0.3, 4.0, 5.5, 9.99995, 12.0]])
        return (torch.tensor([[1.0]]), torch.tensor([[1.0]])), (0.5 * far, far)
    if kind == "constants":
        return (torch.tensor([[1.0, 2.0]]),), (torch.tensor([[7.0, 1.0]]),)
    return (
        (torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1, 1]])),
        (torch.tensor([[3, 1, 0]]), torch.tensor([[3, 3, 0]])),
    )


@pytest.mark.parametrize(("kind", "makers"), [("depth", DEPTH), ("labels", LABELS), ("constants", CONSTANTS)])
def test_every_pair_of_options_is_kept_apart(kind: str, makers: dict[str, Callable[[], Any]]) -> None:
    first, second = batches(kind)
    for names in combinations(makers, 2):
        together = MetricCollection({name.replace(" ", "_"): makers[name]() for name in names}, prefix="val/")
        for batch in (first, second):
            together.update(*batch)
        assert len(together.compute_groups) == 2, names
        for name in names:
            alone = makers[name]()
            for batch in (first, second):
                alone.update(*batch)
            found = together[f"{name.replace(' ', '_')}"].compute()
            torch.testing.assert_close(found, alone.compute(), rtol=0, atol=0, equal_nan=True)


def test_those_of_the_same_options_still_share_their_states() -> None:
    together = MetricCollection({"one": DepthMetrics(), "other": DepthMetrics()})
    together.update(torch.rand(2, 4, 4), torch.rand(2, 4, 4))
    assert len(together.compute_groups) == 1


def test_the_digest_of_the_options_survives_reset_forward_and_copies() -> None:
    metric = DepthMetrics()
    before = metric.options_digest.clone()
    metric(torch.rand(2, 4, 4), torch.rand(2, 4, 4))
    assert torch.equal(metric.options_digest, before)
    metric.reset()
    assert torch.equal(metric.options_digest, before)
    assert not torch.equal(DepthMetrics(max_depth=80.0).options_digest, before)
    assert not torch.equal(ConstantDepthBaseline().options_digest, DepthMetrics().options_digest)
