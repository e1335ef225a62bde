"""What holds of the depth-aware loss for any maps and any options."""

from __future__ import annotations

from typing import Any

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import oracle
from tests.properties.search import (
    DepthMaps,
    close,
    depth_maps,
    gradient,
    laid_out,
    layouts,
    order_of,
    reductions,
    searching,
    seeds,
    uniform,
)

from depthattn import functional as F
from depthattn import use_backend

options_of_the_loss = st.fixed_dictionaries(
    {
        "distance": st.sampled_from(["l1", "l2", "smooth_l1", "berhu"]),
        "beta": st.sampled_from([0.1, 1.0, 3.0]),
        "max_depth": st.sampled_from([None, 0.5, 10.0]),
        "log_offset": st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    }
)


@given(depth_maps(), options_of_the_loss, reductions, layouts)
@searching("depth_aware_loss")
def test_is_the_oracle(maps: DepthMaps, options: dict[str, Any], reduction: str, layout: str) -> None:
    ours = F.depth_aware_loss(
        laid_out(maps.pred, layout), laid_out(maps.target, layout),
        mask=None if maps.mask is None else laid_out(maps.mask, layout), reduction=reduction, **options,
    )  # fmt: skip
    terms, valid = oracle.depth_aware(*maps.numpy(), **options)
    close(ours, oracle.reduced(terms, valid, reduction))


@given(depth_maps(), options_of_the_loss, st.booleans(), st.sampled_from(["mean", "per_image", "none"]))
@searching("depth_aware_loss")
def test_its_gradient_is_that_of_the_formula_and_zero_where_no_pixel_counts(
    maps: DepthMaps, options: dict[str, Any], detach_weight: bool, reduction: str
) -> None:
    pred = maps.pred.requires_grad_()
    loss = F.depth_aware_loss(
        pred, maps.target, mask=maps.mask, detach_weight=detach_weight, reduction=reduction, **options
    )
    ours = gradient(loss, pred)
    with use_backend("reference"):
        loss = F.depth_aware_loss(
            pred, maps.target, mask=maps.mask, detach_weight=detach_weight, reduction=reduction, **options
        )
    wanted = gradient(loss, pred)
    close(ours, wanted, scale=float(wanted.abs().max()))
    assert not ours[~maps.valid].any()


@given(depth_maps(), options_of_the_loss, seeds)
@searching("depth_aware_loss")
def test_the_order_of_pixels_and_images_does_not_matter(maps: DepthMaps, options: dict[str, Any], seed: int) -> None:
    pixels, images = order_of(maps.target[0].numel(), seed), order_of(len(maps.target), seed)
    pred, target, mask = (None if x is None else x[images].flatten(1)[:, pixels].view(maps.target.shape) for x in maps)
    shuffled = F.depth_aware_loss(pred, target, mask=mask, reduction="per_image", **options)
    close(shuffled, F.depth_aware_loss(*maps[:2], mask=maps.mask, reduction="per_image", **options)[images])


@given(depth_maps(), options_of_the_loss, reductions)
@searching("depth_aware_loss")
def test_a_mask_is_holes_and_none_is_all(maps: DepthMaps, options: dict[str, Any], reduction: str) -> None:
    masked = F.depth_aware_loss(*maps[:2], mask=maps.mask, reduction=reduction, **options)
    holes = maps.target.where(maps.valid, 0.0)
    close(F.depth_aware_loss(maps.pred, holes, reduction=reduction, **options), masked)
    everywhere = torch.ones_like(holes, dtype=torch.bool)
    assert torch.equal(
        F.depth_aware_loss(maps.pred, holes, mask=everywhere, reduction=reduction, **options),
        F.depth_aware_loss(maps.pred, holes, reduction=reduction, **options),
    )


@given(depth_maps(extremes=False), options_of_the_loss, st.integers(0, 3), st.integers(0, 3))
@searching("depth_aware_loss")
def test_a_mask_is_a_crop(maps: DepthMaps, options: dict[str, Any], above: int, left: int) -> None:
    pred, target = maps.pred.nan_to_num(0, 0, 0), maps.target
    framed_pred, framed_target = (torch.nn.functional.pad(x, (left, 2, above, 1), value=5.0) for x in (pred, target))
    inside = torch.nn.functional.pad(torch.ones_like(target), (left, 2, above, 1)).bool()
    close(
        F.depth_aware_loss(framed_pred, framed_target, mask=inside, reduction="per_image", **options),
        F.depth_aware_loss(pred, target, reduction="per_image", **options),
    )


@given(depth_maps(), st.sampled_from([0.0, 1.0]), st.floats(0.01, 100))
@searching("depth_aware_loss")
def test_how_the_distances_scale(maps: DepthMaps, log_offset: float, factor: float) -> None:
    """In the error: l2 is l1 times its size, and smooth L1 is l2 below and l1 above its bend."""

    def values(**options: Any) -> torch.Tensor:
        return F.depth_aware_loss(
            *maps[:2], mask=maps.mask, max_depth=7.0, log_offset=log_offset, reduction="none", **options
        )

    size = (maps.pred - maps.target).abs().where(maps.valid, 0)
    absolute = values(distance="l1")
    close(values(distance="l2"), absolute * size)
    smooth = values(distance="smooth_l1", beta=factor)
    wanted = torch.where(size < factor, absolute * size / (2 * factor), absolute * (1 - factor / (2 * size)))
    close(smooth, wanted.where(size > 0, 0), scale=float(absolute.max()))


@given(depth_maps(), options_of_the_loss)
@searching("depth_aware_loss")
def test_the_reductions_fit_each_other(maps: DepthMaps, options: dict[str, Any]) -> None:
    each, mean, total, values = (
        F.depth_aware_loss(*maps[:2], mask=maps.mask, reduction=reduction, **options)
        for reduction in ("per_image", "mean", "sum", "none")
    )
    counts = maps.valid.sum((1, 2))
    close(total, values.sum())
    close(each * counts, values.sum((1, 2)))
    close(mean * counts.sum(), total)
    if counts.unique().numel() == 1:
        close(each.mean(), mean)


@given(st.tuples(st.integers(1, 6), st.integers(1, 6)), depth_maps(extremes=False), seeds)
@searching("depth_aware_loss")
def test_upsample_is_resizing_first(small: tuple[int, int], maps: DepthMaps, seed: int) -> None:
    pred = uniform(seed, len(maps.target), *small, low=0.3, high=9)
    size = maps.target.shape[1:]
    resized = torch.nn.functional.interpolate(pred.unsqueeze(1), size, mode="bilinear", align_corners=False)
    close(
        F.depth_aware_loss(pred, maps.target, mask=maps.mask, upsample="bilinear"),
        F.depth_aware_loss(resized.squeeze(1), maps.target, mask=maps.mask),
    )
