"""The attention maps are the weights of the depth-aware loss."""

from __future__ import annotations

import math

import pytest
import torch

from depthattn.functional import depth_aware_loss
from depthattn.viz import attention_maps


def test_hand_computed_pixels() -> None:
    pred = torch.tensor([[1.0, 3.0, 7.0, 5.0]], dtype=torch.float64)
    target = torch.tensor([[3.0, 3.0, 1.0, 0.0]], dtype=torch.float64)
    maps = attention_maps(pred, target, max_depth=2.0)
    nan = math.nan
    expected_alpha = torch.tensor([[[1.0, 1.0, 0.5, nan]]], dtype=torch.float64)
    # log 2 / log 4 = 1/2 and log 2 / log 8 = 1/3
    expected_lambda = torch.tensor([[[0.5, 0.0, 2 / 3, nan]]], dtype=torch.float64)
    torch.testing.assert_close(maps.alpha, expected_alpha, equal_nan=True)
    torch.testing.assert_close(maps.lambda_, expected_lambda, equal_nan=True)
    torch.testing.assert_close(maps.total, expected_alpha + expected_lambda, equal_nan=True)


@pytest.mark.parametrize("options", [{"max_depth": 10.0}, {}, {"log_offset": 0.0, "max_depth": 4.0}])
def test_sum_times_distance_is_the_loss(options: dict[str, float]) -> None:
    generator = torch.Generator().manual_seed(0)
    pred = torch.rand(2, 1, 5, 7, generator=generator, dtype=torch.float64) * 8 + 0.2
    target = torch.rand(2, 1, 5, 7, generator=generator, dtype=torch.float64) * 8 + 0.2
    mask = torch.rand(2, 1, 5, 7, generator=generator) > 0.3
    loss = depth_aware_loss(pred, target, mask=mask, distance="l1", reduction="none", **options)
    total = attention_maps(pred, target, mask=mask, **options).total
    torch.testing.assert_close((total * (pred - target).squeeze(1).abs()).nan_to_num(0.0), loss)
    assert torch.equal(total.isnan(), ~mask.squeeze(1))


def test_maps_carry_no_gradient() -> None:
    pred = torch.ones(2, 3, requires_grad=True)
    assert not attention_maps(pred, torch.ones(2, 3)).total.requires_grad


def test_shapes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"^attention_maps: expected pred and target of one size"):
        attention_maps(torch.ones(2, 3), torch.ones(2, 4))
