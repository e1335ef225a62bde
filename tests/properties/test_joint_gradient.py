"""What holds of the joint gradient loss for any maps and any semantics."""

from __future__ import annotations

from typing import NamedTuple

import torch
from hypothesis import given
from hypothesis import strategies as st
from tests import oracle
from tests.properties.search import (
    DepthMaps,
    close,
    depth_maps,
    laid_out,
    layouts,
    order_of,
    reductions,
    searching,
    seeds,
    sprinkled,
    uniform,
)
from torch import Tensor

from depthattn import functional as F
from depthattn import use_backend


class Scene(NamedTuple):
    """Depth maps with a semantic map, of labels or of floats, or None."""

    maps: DepthMaps
    semantics: Tensor | None

    def loss(self, *, reduction: str = "per_image", weight: float = 0.7) -> Tensor:
        return F.joint_gradient_loss(
            *self.maps, **self.kind, semantic_weight=weight, ignore_index=255, reduction=reduction
        )

    @property
    def kind(self) -> dict[str, Tensor | None]:
        """The semantic map under the name of its kind."""
        floats = self.semantics is not None and self.semantics.is_floating_point()
        return {"semantics" if floats else "labels": self.semantics}

    @property
    def largest(self) -> float:
        """Of the numbers that Sobel kernels add up: rounding is relative to them."""
        sizes = [x.nan_to_num(0, 0, 0).abs().max() for x in (self.maps.pred, self.maps.target)]
        if self.semantics is not None and self.semantics.is_floating_point():
            sizes.append(self.semantics.nan_to_num(0, 0, 0).abs().max())
        return 8 * float(max(sizes))

    def each(self, change: object) -> Scene:
        """Every map changed alike."""
        pred, target, mask, semantics = (
            None if x is None else change(x)  # type: ignore[operator]
            for x in (*self.maps, self.semantics)
        )
        return Scene(DepthMaps(pred, target, mask), semantics)


@st.composite
def scenes(draw: st.DrawFn, smallest: int = 1, extremes: bool = True) -> Scene:
    maps = draw(depth_maps(smallest, extremes))
    shape, seed = maps.target.shape, draw(seeds)
    kind = draw(st.sampled_from(["none", "labels", "bytes", "floats"]))
    if kind == "none":
        return Scene(maps, None)
    # The semantic term also counts where there is no target: junk has to lie outside of it, too.
    junk = ~maps.valid & ~(maps.pred.abs() < 1e20)
    if kind == "floats":
        values = st.sampled_from([0.0, -5.0, 1e30, float("nan"), float("inf"), float("-inf")])
        floats = sprinkled(uniform(seed, *shape, high=9), draw(st.lists(values, max_size=4)), seed)
        return Scene(maps, floats.masked_fill(junk, torch.nan))
    # Few classes in large pieces, so that windows lie inside one.
    rows, columns = (1 + draw(st.integers(1, 4)) for _ in range(2))
    blocks = (uniform(seed, shape[0], -(-shape[1] // rows), -(-shape[2] // columns)) * 3).long()
    labels = blocks.repeat_interleave(rows, 1).repeat_interleave(columns, 2)[:, : shape[1], : shape[2]]
    labels = labels.masked_fill(junk | (uniform(seed + 1, *shape) < 0.05), 255)
    return Scene(maps, labels.to(torch.uint8) if kind == "bytes" else labels)


def _expected(scene: Scene, reduction: str) -> object:
    semantics = None if scene.semantics is None else scene.semantics.numpy()
    pred, target, mask = scene.maps.numpy()
    depth, windows, semantic, semantic_windows = oracle.joint_gradient(pred, target, semantics, mask, 255)
    return oracle.reduced(depth, windows, reduction) + 0.7 * oracle.reduced(semantic, semantic_windows, reduction)


def _counts(scene: Scene) -> tuple[Tensor, Tensor]:
    semantics = None if scene.semantics is None else scene.semantics.numpy()
    _, windows, _, semantic_windows = oracle.joint_gradient(
        *scene.maps.numpy()[:2], semantics, scene.maps.numpy()[2], 255
    )
    return torch.from_numpy(windows), torch.from_numpy(semantic_windows)


@given(scenes(), reductions, layouts)
@searching("joint_gradient_loss")
def test_is_the_oracle(scene: Scene, reduction: str, layout: str) -> None:
    ours = scene.each(lambda x: laid_out(x, layout)).loss(reduction=reduction)
    close(ours, _expected(scene, reduction), scale=scene.largest * max(1, scene.maps.target.numel()))


# Not of extremes: where terms of 1e30 cancel, the rounding decides the sign.
@given(scenes(extremes=False))
@searching("joint_gradient_loss")
def test_its_gradients_are_those_of_the_formula(scene: Scene) -> None:
    floats = scene.semantics is not None and scene.semantics.is_floating_point()
    inputs = [scene.maps.pred.requires_grad_(), *([scene.semantics.requires_grad_()] if floats else [])]
    ours = torch.autograd.grad(scene.loss(reduction="sum"), inputs)
    with use_backend("reference"):
        formula = torch.autograd.grad(scene.loss(reduction="sum"), inputs)
    for a, b in zip(ours, formula, strict=True):
        close(a, b)


@given(scenes(extremes=False), seeds)
@searching("joint_gradient_loss")
def test_mirrors_and_the_order_of_images_do_not_matter(scene: Scene, seed: int) -> None:
    wanted = scene.loss()
    for change in (lambda x: x.mT, lambda x: x.flip(1), lambda x: x.flip(2)):
        close(scene.each(change).loss(), wanted, scene.largest)
    images = order_of(len(wanted), seed)
    close(scene.each(lambda x: x[images]).loss(), wanted[images], scene.largest)


@given(scenes(extremes=False), st.floats(0.01, 100), st.floats(-50, 50))
@searching("joint_gradient_loss")
def test_it_grows_with_the_scale_and_not_with_an_offset(scene: Scene, factor: float, offset: float) -> None:
    pred, target, mask = scene.maps
    floats = scene.semantics is not None and scene.semantics.is_floating_point()
    wanted = scene.loss()
    semantics = scene.semantics * factor if floats else scene.semantics
    scaled = Scene(DepthMaps(pred * factor, target * factor, mask), semantics).loss()
    close(scaled, factor * wanted, 100 * scene.largest)
    moved = Scene(DepthMaps(pred + offset, target, mask), scene.semantics).loss()
    close(moved, wanted, scene.largest + 400)


@given(scenes(smallest=3), seeds)
@searching("joint_gradient_loss")
def test_the_names_of_classes_do_not_matter(scene: Scene, seed: int) -> None:
    if scene.semantics is None or scene.semantics.is_floating_point():
        return
    names = torch.cat([order_of(255, seed), torch.tensor([255])])
    renamed = names[scene.semantics.long()]
    close(scene._replace(semantics=renamed).loss(), scene.loss())


@given(scenes(), reductions)
@searching("joint_gradient_loss")
def test_a_mask_is_holes_and_none_is_all(scene: Scene, reduction: str) -> None:
    pred, target, mask = scene.maps
    holes = target if mask is None else target.where(mask, 0.0)
    close(
        Scene(DepthMaps(pred, holes, None), scene.semantics).loss(reduction=reduction), scene.loss(reduction=reduction)
    )
    everywhere = torch.ones_like(target, dtype=torch.bool)
    assert torch.equal(
        Scene(DepthMaps(pred, holes, everywhere), scene.semantics).loss(reduction=reduction),
        Scene(DepthMaps(pred, holes, None), scene.semantics).loss(reduction=reduction),
    )


@given(depth_maps(extremes=False), st.integers(0, 3), st.integers(0, 3))
@searching("joint_gradient_loss")
def test_a_mask_is_a_crop(maps: DepthMaps, above: int, left: int) -> None:
    pred, target = maps.pred.nan_to_num(0, 0, 0), maps.target
    framed_pred, framed_target = (torch.nn.functional.pad(x, (left, 2, above, 1), value=5.0) for x in (pred, target))
    inside = torch.nn.functional.pad(torch.ones_like(target), (left, 2, above, 1)).bool()
    close(
        F.joint_gradient_loss(framed_pred, framed_target, mask=inside, reduction="per_image"),
        F.joint_gradient_loss(pred, target, reduction="per_image"),
        100.0,
    )


@given(scenes())
@searching("joint_gradient_loss")
def test_the_reductions_fit_each_other(scene: Scene) -> None:
    each, mean, total, values = (scene.loss(reduction=name) for name in ("per_image", "mean", "sum", "none"))
    scale = scene.largest * scene.maps.target.numel()
    close(total, values.sum(), scale)
    windows, semantic_windows = (x.sum((1, 2)) for x in _counts(scene))
    if windows.unique().numel() == semantic_windows.unique().numel() == 1:
        close(each.mean(), mean, scale)
