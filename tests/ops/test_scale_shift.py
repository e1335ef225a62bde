"""Least squares of scale and shift: values against NumPy, gradients, and pixels that do not count."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from depthattn.functional import align_scale_shift


def maps(count: int = 4, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """The second image has no valid pixel, the third one only, the fourth a constant prediction."""
    generator = torch.Generator().manual_seed(0)
    pred = torch.randn(count, 1, 5, 7, generator=generator, dtype=torch.float64)
    target = 0.1 + torch.rand(count, 5, 7, generator=generator, dtype=torch.float64)
    target[0, 0] = torch.tensor([0.0, -1.0, np.nan, np.inf, 0.0, 0.0, 0.0], dtype=torch.float64)
    target[1], target[2] = 0.0, 0.0
    target[2, 3, 3] = 0.7
    pred[3] = 0.3
    return pred.to(dtype), target.to(dtype)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5)])
def test_against_numpy(dtype: torch.dtype, rtol: float) -> None:
    pred, target = maps(dtype=dtype)
    aligned = align_scale_shift(pred, target)
    assert (aligned.shape, aligned.dtype) == (pred.shape, dtype)
    p, g = pred[0, 0].double().numpy(), target[0].double().numpy()
    keep = np.isfinite(g) & (g > 0)
    scale, shift = np.polyfit(p[keep], g[keep], 1)
    np.testing.assert_allclose(aligned[0, 0].double().numpy(), scale * p + shift, rtol=rtol, atol=rtol)
    assert torch.equal(aligned[1], pred[1])
    assert torch.allclose(aligned[2], torch.tensor(0.7, dtype=dtype))
    assert torch.allclose(aligned[3], target[3].mean())


def test_a_model_that_is_right_up_to_scale_and_shift_has_no_loss() -> None:
    target = 0.1 + torch.rand(2, 30, 40)
    pred = torch.stack([5 * target[0] - 3, -0.2 * target[1] + 8])
    torch.testing.assert_close(align_scale_shift(pred, target), target, rtol=1e-5, atol=1e-5)


def test_mask_and_half_precision() -> None:
    pred, target = maps()
    pred, target = pred[:1].half(), target[:1].half()
    mask = torch.rand(1, 1, 5, 7, generator=torch.Generator().manual_seed(1)) < 0.6
    aligned = align_scale_shift(pred, target, mask)
    assert aligned.dtype == torch.float32
    expected = align_scale_shift(pred.double(), torch.where(mask[:, 0], target, 0).double())
    torch.testing.assert_close(aligned.double(), expected, rtol=1e-5, atol=1e-5)


def test_gradients() -> None:
    pred, target = maps()
    pred.requires_grad_()
    mask = torch.rand(4, 5, 7, generator=torch.Generator().manual_seed(1)) < 0.8
    # Of the constant image the scale jumps to 0, so finite differences say nothing.
    few = pred[:3].detach().requires_grad_()
    assert torch.autograd.gradcheck(lambda p: align_scale_shift(p, target[:3], mask[:3]), (few,))
    assert torch.autograd.gradgradcheck(lambda p: align_scale_shift(p, target[:3], mask[:3]), (few,))
    (gradient,) = torch.autograd.grad(align_scale_shift(pred, target, mask).square().sum(), pred)
    assert gradient[3].eq(0).all()


def test_the_aligned_loss_does_not_ask_for_scale_or_shift() -> None:
    """At every prediction the loss after alignment is flat along both."""
    target = 0.1 + torch.rand(2, 9, 11, dtype=torch.float64)
    pred = torch.randn(2, 9, 11, dtype=torch.float64, requires_grad=True)
    loss = (align_scale_shift(pred, target) - target).square().mean()
    (gradient,) = torch.autograd.grad(loss, pred)
    assert gradient.abs().max() > 1e-6
    for direction in (torch.ones_like(pred), pred.detach()):
        assert (gradient * direction).sum((1, 2)).abs().max() < 1e-15


def test_nonsense_in_holes_has_no_part_in_it() -> None:
    pred, target = maps()
    pred, target = pred[:1, 0].float(), target[:1].float()
    hole = ~((target > 0) & (target < torch.inf))
    expected = align_scale_shift(pred, target)
    nonsense = torch.where(hole, torch.nan, pred).requires_grad_()
    aligned = align_scale_shift(nonsense, target)
    assert torch.equal(aligned[~hole], expected[~hole])
    aligned[~hole].sum().backward()
    assert nonsense.grad is not None
    assert nonsense.grad[~hole].isfinite().all()
    broken = torch.where(target == target[~hole][0], torch.nan, pred)
    assert align_scale_shift(broken, target)[~hole].isnan().all()


def test_it_compiles_whole_and_works_per_sample() -> None:
    pred, target = maps(dtype=torch.float32)
    compiled = torch.compile(align_scale_shift, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(pred, target), align_scale_shift(pred, target))

    def loss(p: Tensor) -> Tensor:
        return align_scale_shift(p, target).square().sum()

    given = pred.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(given), given)
    torch.testing.assert_close(torch.func.grad(loss)(pred), expected)


def test_arguments_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="align_scale_shift: expected pred and target of one size"):
        align_scale_shift(torch.ones(2, 2), torch.ones(2, 3))
    with pytest.raises(TypeError, match="align_scale_shift: expected mask as a bool tensor"):
        align_scale_shift(torch.ones(2, 2), torch.ones(2, 2), torch.ones(2, 2))
