"""The naive implementation of each case: the formula as it stands in the paper, under autograd, with dense masks.

Nothing here is taken from the package. In float64 the same functions are what every side is checked against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, smooth_l1_loss

from benchmarks.inputs import IGNORE_INDEX, Inputs, Tensors
from benchmarks.measure import Outcome, Run, differentiate

GAMMA = 2.0
# Pixels of one float64 band: the check of a 50 megapixel image must not need the memory of the naive one.
BAND_PIXELS = 2**20

Terms = list[tuple[Tensor, Tensor]]


def features_of(t: Tensors) -> list[Tensor]:
    return [value for name, value in t.items() if name.startswith("feature")]


def widened(x: Tensor) -> Tensor:
    """In the dtype of the arithmetic: half precision is only stored."""
    return x if x.dtype == torch.float64 else x.float()


def valid_depth(target: Tensor) -> Tensor:
    return (target > 0) & target.isfinite()


def _mean(terms: Terms) -> tuple[Tensor]:
    return (reduce(add, (part / count.clamp(min=1) for part, count in terms)),)


def depth_aware_terms(t: Tensors, maximum: Tensor) -> Terms:
    valid = valid_depth(t["target"])
    target = torch.where(valid, widened(t["target"]), 1)
    pred = torch.where(valid, widened(t["pred"]), 1)
    near, far = torch.log1p(pred), torch.log1p(target)
    similarity = torch.minimum(near, far) / torch.maximum(near, far)
    weight = target / maximum.view(-1, 1, 1) + (1 - similarity)
    values = weight * smooth_l1_loss(pred, target, reduction="none")
    return [(torch.where(valid, values, 0).sum(), valid.sum())]


def sobel_l1(x: Tensor, windows: Tensor) -> Tensor:
    """|Sh x| + |Sv x| of the 3x3 windows that count: (B,H,W) -> (B,H-2,W-2)."""
    rows = x[:, :-2] + 2 * x[:, 1:-1] + x[:, 2:]
    columns = x[..., :-2] + 2 * x[..., 1:-1] + x[..., 2:]
    size = (rows[..., 2:] - rows[..., :-2]).abs() + (columns[:, 2:] - columns[:, :-2]).abs()
    return torch.where(windows, size, 0)


def full_windows(valid: Tensor) -> Tensor:
    """True where all nine pixels of the window are."""
    rows = valid[:, :-2] & valid[:, 1:-1] & valid[:, 2:]
    return rows[..., :-2] & rows[..., 1:-1] & rows[..., 2:]


def class_windows(labels: Tensor) -> Tensor:
    """True where all nine labels are one class."""
    height, width = labels.shape[1:]
    centre = labels[:, 1:-1, 1:-1]
    same = centre != IGNORE_INDEX
    for row in range(3):
        for column in range(3):
            same = same & (labels[:, row : height - 2 + row, column : width - 2 + column] == centre)
    return same


def joint_gradient_terms(t: Tensors, _: Tensor) -> Terms:
    pred, target = widened(t["pred"]), widened(t["target"])
    windows = full_windows(valid_depth(target))
    terms = [(sobel_l1(pred - target, windows).sum(), windows.sum())]
    if "semantics" in t:
        windows = full_windows(t["semantics"].isfinite())
        terms.append((sobel_l1(pred - widened(t["semantics"]), windows).sum(), windows.sum()))
    elif "labels" in t:
        windows = class_windows(t["labels"])
        terms.append((sobel_l1(pred, windows).sum(), windows.sum()))
    return terms


def largest_depth(t: Tensors) -> Tensor:
    """The largest valid target of each image."""
    target = widened(t["target"])
    return torch.where(valid_depth(target), target, 0).flatten(1).amax(1)


def depth_aware(t: Tensors) -> tuple[Tensor, ...]:
    return _mean(depth_aware_terms(t, largest_depth(t)))


def joint_gradient(t: Tensors) -> tuple[Tensor, ...]:
    return _mean(joint_gradient_terms(t, t["target"]))


def attention_depth(t: Tensors) -> tuple[Tensor, ...]:
    return (depth_aware(t)[0] + joint_gradient(t)[0],)


def semantic_focal(t: Tensors) -> tuple[Tensor, ...]:
    return (focal_sum(t) / t["labels"].ne(IGNORE_INDEX).sum(),)


def focal_sum(t: Tensors, gamma: float = GAMMA) -> Tensor:
    labels = t["labels"]
    valid = labels != IGNORE_INDEX
    log_p = widened(upsampled(t)).log_softmax(1).gather(1, torch.where(valid, labels, 0).unsqueeze(1)).squeeze(1)
    value = -log_p * (1 - log_p.exp()) ** gamma if gamma else -log_p
    return torch.where(valid, value, 0).sum()


def upsampled(t: Tensors) -> Tensor:
    size = tuple(t["labels"].shape[1:])
    logits = t["logits"]
    if tuple(logits.shape[2:]) == size:
        return logits
    return interpolate(logits, size, mode="bilinear", align_corners=False)


def share(features: Sequence[Tensor], gates: Tensor) -> tuple[Tensor, ...]:
    """Every task's features plus a gate times each task's."""
    rows = [gate.unbind() for gate in gates.to(features[0].dtype).unbind()]
    return tuple(
        own + reduce(add, (gate * other for gate, other in zip(row, features, strict=True)))
        for own, row in zip(features, rows, strict=True)
    )


def lateral_sharing(t: Tensors) -> tuple[Tensor, ...]:
    return share(features_of(t), t["gates"])


def merge(features: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """The sum of all levels at one size."""
    return reduce(add, (interpolate(x, tuple(size), mode="bilinear", align_corners=False) for x in features))


def semi_dense_up_skip(size: tuple[int, int]) -> Run:
    return lambda t: (merge(features_of(t), size),)


def joint_gradient_conv2d(t: Tensors) -> tuple[Tensor, ...]:
    """The joint gradient loss as the paper's formula reads: conv2d with both Sobel kernels on every map."""
    pred, target = widened(t["pred"]), widened(t["target"])
    horizontal = torch.tensor([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], dtype=pred.dtype, device=pred.device)
    kernels = torch.stack([horizontal, horizontal.T]).unsqueeze(1)

    def sobel(x: Tensor) -> Tensor:
        return conv2d(x.unsqueeze(1), kernels)

    def term(difference: Tensor, windows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.where(windows, difference.abs().sum(1), 0).sum(), windows.sum()

    edges = sobel(pred)
    terms = [term(edges - sobel(target), full_windows(valid_depth(target)))]
    if "semantics" in t:
        windows = full_windows(t["semantics"].isfinite())
        terms.append(term(edges - sobel(widened(t["semantics"])), windows))
    else:
        terms.append(term(edges, class_windows(t["labels"])))
    return _mean(terms)


def expected(run: Run, inputs: Inputs) -> Outcome:
    """Values and gradients of a formula in float64."""
    return differentiate(run, inputs.double())


def expected_of_maps(terms_of: Callable[[Tensors, Tensor], Terms], halo: int, inputs: Inputs) -> Outcome:
    """Values and gradients, in float64, of a sum of means over depth maps, band by band.

    All terms have windows of one height, or a row that two bands share would be counted twice.

    Args:
        terms_of: sums and counts of every term, given maps and the largest depth of their images.
        halo: rows that a band shares with the next one: one less than a window has.
        inputs: maps (B,H,W) in any dtype.
    """
    wide = inputs.double()
    norm = largest_depth({name: t.detach() for name, t in wide.tensors.items()})
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
