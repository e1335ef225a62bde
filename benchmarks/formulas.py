"""The textbook of each case: the formula of ``reference.py`` under autograd, with dense masks.

In float64 the same functions are what every side is checked against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate

from benchmarks.inputs import IGNORE_INDEX, Inputs, Tensors
from benchmarks.measure import Outcome, Run, differentiate
from depthattn.ops.depth_aware import reference as depth_aware_reference
from depthattn.ops.joint_gradient import reference as joint_gradient_reference
from depthattn.ops.lateral_sharing import reference as lateral_sharing_reference
from depthattn.ops.masking import compute_dtype, image_maximum, valid_depth
from depthattn.ops.reduce import divide
from depthattn.ops.semantic_focal import reference as semantic_focal_reference
from depthattn.ops.semi_dense_up_skip import reference as semi_dense_up_skip_reference

GAMMA = 2.0
# Pixels of one float64 band: the check of a 50 megapixel image must not need the memory of its textbook.
BAND_PIXELS = 2**20

Terms = list[tuple[Tensor, Tensor]]


def features_of(t: Tensors) -> list[Tensor]:
    return [value for name, value in t.items() if name.startswith("feature")]


def _mean(terms: Terms) -> tuple[Tensor]:
    return (reduce(add, (divide(part, count) for part, count in terms)),)


def depth_aware_terms(t: Tensors, norm: Tensor) -> Terms:
    pred, target = t["pred"], t["target"]
    values = depth_aware_reference.per_pixel(pred, target, None, norm, "smooth_l1", 1.0, 1.0, False)
    return [(values.sum(), valid_depth(target, None).sum())]


def joint_gradient_terms(t: Tensors, norm: Tensor) -> Terms:
    values, windows = joint_gradient_reference.depth_term(t["pred"], t["target"], None)
    terms = [(values.sum(), windows.sum())]
    if "semantics" in t:
        values, windows = joint_gradient_reference.semantic_term(t["pred"], t["semantics"], IGNORE_INDEX)
        terms.append((values.sum(), windows.sum()))
    return terms


def normaliser(t: Tensors) -> Tensor:
    return image_maximum(t["target"], None).to(compute_dtype(t["pred"], t["target"]))


def depth_aware(t: Tensors) -> tuple[Tensor, ...]:
    return _mean(depth_aware_terms(t, normaliser(t)))


def joint_gradient(t: Tensors) -> tuple[Tensor, ...]:
    return _mean(joint_gradient_terms(t, t["target"]))


def attention_depth(t: Tensors) -> tuple[Tensor, ...]:
    return (depth_aware(t)[0] + joint_gradient(t)[0],)


def semantic_focal(t: Tensors) -> tuple[Tensor, ...]:
    return (focal_sum(t) / t["labels"].ne(IGNORE_INDEX).sum(),)


def focal_sum(t: Tensors, gamma: float = GAMMA) -> Tensor:
    logits, labels = upsampled(t).flatten(2), t["labels"].flatten(1)
    return semantic_focal_reference.per_pixel(logits, labels, None, gamma, IGNORE_INDEX).sum()


def upsampled(t: Tensors) -> Tensor:
    size = tuple(t["labels"].shape[1:])
    logits = t["logits"]
    if tuple(logits.shape[2:]) == size:
        return logits
    return interpolate(logits, size, mode="bilinear", align_corners=False)


def lateral_sharing(t: Tensors) -> tuple[Tensor, ...]:
    return tuple(lateral_sharing_reference.share(features_of(t), t["gates"]))


def semi_dense_up_skip(size: tuple[int, int]) -> Run:
    def run(t: Tensors) -> tuple[Tensor, ...]:
        return (semi_dense_up_skip_reference.merge(features_of(t), size, "bilinear"),)

    return run


def joint_gradient_conv2d(t: Tensors) -> tuple[Tensor, ...]:
    """The joint gradient loss as the paper's formula reads: conv2d with both Sobel kernels on every map."""
    dtype = compute_dtype(t["pred"], t["target"])
    horizontal = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=dtype, device=t["pred"].device)
    kernels = torch.stack([horizontal, horizontal.T]).unsqueeze(1)

    def sobel(x: Tensor) -> Tensor:
        return conv2d(x.to(dtype).unsqueeze(1), kernels)

    def term(difference: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(windows, difference.abs().sum(1), 0).sum(), windows.sum()

    pred = sobel(t["pred"])
    valid = joint_gradient_reference.full_windows(valid_depth(t["target"], None))
    terms = [term(pred - sobel(t["target"]), valid)]
    semantics = t["semantics"]
    if semantics.is_floating_point():
        windows = joint_gradient_reference.full_windows(semantics.isfinite())
        terms.append(term(pred - sobel(semantics), windows))
    else:
        terms.append(term(pred, joint_gradient_reference.class_windows(semantics, IGNORE_INDEX)))
    return _mean(terms)


def expected(run: Run, inputs: Inputs) -> Outcome:
    """Values and gradients of a formula in float64."""
    return differentiate(run, inputs.double())


def expected_of_maps(terms_of: Callable[[Tensors, Tensor], Terms], halo: int, inputs: Inputs) -> Outcome:
    """Values and gradients, in float64, of a sum of means over depth maps, band by band.

    All terms have windows of one height, or a row that two bands share would be counted twice.

    Args:
        terms_of: sums and counts of every term, given maps and the normaliser of their images.
        halo: rows that a band shares with the next one: one less than a window has.
        inputs: maps (B,H,W) in any dtype.
    """
    wide = inputs.double()
    norm = normaliser({name: t.detach() for name, t in wide.tensors.items()})
    with torch.no_grad():
        parts = [terms_of(band, norm) for _, band in _bands(wide.tensors, halo)]
    counts = [reduce(add, column) for column in zip(*([count for _, count in part] for part in parts), strict=True)]
    gradients = {name: torch.zeros_like(wide.tensors[name]) for name in wide.differentiate}
    value = torch.zeros_like(wide.cotangents[0])
    for rows, band in _bands(wide.tensors, halo):
        (share,) = _mean([(part, count) for (part, _), count in zip(terms_of(band, norm), counts, strict=True)])
        leaves = [band[name] for name in wide.differentiate]
        for name, gradient in zip(wide.differentiate, torch.autograd.grad(share, leaves, wide.cotangents), strict=True):
            gradients[name][:, rows] += gradient
        value += share.detach()
    return Outcome((value,), tuple(gradients.values()))


def total(parts: Sequence[Outcome]) -> Outcome:
    """Of losses on the same inputs, the outcome of their sum."""
    values = [reduce(add, same) for same in zip(*(part.values for part in parts), strict=True)]
    gradients = [reduce(add, same) for same in zip(*(part.gradients for part in parts), strict=True)]
    return Outcome(tuple(values), tuple(gradients))


def _bands(tensors: Tensors, halo: int) -> Iterator[tuple[slice, Tensors]]:
    batch, height, width = tensors["pred"].shape
    step = max(1, BAND_PIXELS // (batch * width))
    for start in range(0, height - halo, step):
        rows = slice(start, min(start + step + halo, height))
        yield rows, {k: t.detach()[:, rows].requires_grad_(t.requires_grad) for k, t in tensors.items()}
