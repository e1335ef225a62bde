"""The depth-aware loss as plain tensor code in tiles; docs/derivations/depth_aware.md derives what is computed here.

Comparisons and torch.where are not vectorised on the CPU and cost several times an addition. So pixels are selected by
clamps, signs and threshold_backward(x, y, t): x where y > t, else 0, whatever x is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from depthattn.ops.masking import clean_target, compute_dtype
from depthattn.ops.tiling import Workspace, cut, rows_joined

_select = torch.ops.aten.threshold_backward.grad_input
_smooth_l1 = torch.ops.aten.smooth_l1_loss.out
_smooth_l1_backward = torch.ops.aten.smooth_l1_loss_backward.grad_input

# Beside the one that becomes the gradient.
BUFFERS = 4


class Options(NamedTuple):
    distance: str
    beta: float
    log_offset: float
    detach_weight: bool


def forward(
    pred: Tensor, target: Tensor, mask: Tensor | None, distance: str, beta: float, max_depth: float | None,
    log_offset: float, detach_weight: bool, keep_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    norm = normalisers(pred, target, mask, max_depth)
    gradient = pred.new_empty(pred.shape if keep_gradient else 0)
    options = Options(distance, beta, log_offset, detach_weight)
    sums, counts = _tiled(pred, target, mask, norm, options, gradient if keep_gradient else None, None)
    return sums, counts, norm, gradient


def backward(
    scale: Tensor, pred: Tensor, target: Tensor, mask: Tensor | None, norm: Tensor, distance: str,
    beta: float, log_offset: float, detach_weight: bool,
) -> Tensor:  # fmt: skip
    gradient = pred.new_empty(pred.shape)
    _tiled(pred, target, mask, norm, Options(distance, beta, log_offset, detach_weight), gradient, scale)
    return gradient


def _tiled(
    pred: Tensor, target: Tensor, mask: Tensor | None, norm: Tensor, options: Options,
    gradient: Tensor | None, scale: Tensor | None,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """Sums and counts of every image; with ``gradient``, also write it, multiplied by ``scale`` if there is one."""
    # Half precision is rounded once, after the scale. Else the scale meets the rounded gradient, as it does in the
    # buffer that the forward pass kept: the two paths give the same bits.
    scale_first = pred.dtype in (torch.float16, torch.bfloat16)
    in_place = gradient is not None and gradient.dtype == norm.dtype
    pred, target, mask, gradient = rows_joined(pred, target, mask, gradient)
    factor = None if scale is None else scale.view(-1, 1, 1)
    sums = norm.new_zeros(len(norm))
    counts = sums.to(torch.int64)
    workspace = Workspace(pred, [norm.dtype] * (BUFFERS + (not in_place)), gradient)
    for images, rows, buffers in workspace.tiles():
        raw, true, allowed, out = cut(images, rows, pred, target, mask, gradient)
        p = out if in_place and out is not None else buffers[-1].view(raw.shape)
        sums[images] += tile(raw, true, allowed, norm[images], options, p, buffers, differentiate=out is not None)
        if scale is None:
            counts[images] += torch.sign(buffers[0], out=buffers[1]).view(raw.shape).sum((1, 2)).to(torch.int64)
        if out is None:
            continue
        if factor is not None and scale_first:
            p.mul_(factor[images])
        if p is not out:
            out.copy_(p)
        if factor is not None and not scale_first:
            out.mul_(factor[images])
    return sums, counts


def tile(
    pred: Tensor, target: Tensor, mask: Tensor | None, norm: Tensor, options: Options, p: Tensor,
    buffers: Sequence[Tensor], *, differentiate: bool,
) -> Tensor:  # fmt: skip
    """Sum the values of a tile per image, (images,); ``p`` receives their slopes with ``differentiate``.

    ``buffers`` are :data:`BUFFERS` flat ones. The first is left with the target, 0 where it does not count.
    """
    g, x, y, z = (buffer[: pred.numel()].view(pred.shape) for buffer in buffers[:BUFFERS])
    clean_target(target, mask, g)
    _select(pred if pred.dtype == p.dtype else p.copy_(pred), g, 0, grad_input=p)
    divisor = norm.clamp(min=torch.finfo(norm.dtype).tiny).view(-1, 1, 1)
    return _pass(p, g, x, y, z, norm.new_ones(()), divisor, options, differentiate)


def _pass(
    p: Tensor,
    g: Tensor,
    x: Tensor,
    y: Tensor,
    z: Tensor,
    one: Tensor,
    norm: Tensor,
    options: Options,
    differentiate: bool,
) -> Tensor:
    """Sum the values of one tile per image; with ``differentiate``, turn ``p`` into their slope. x, y, z are scratch.

    ``p`` and ``g`` are both 0 at pixels that do not count, where the steps below give exact zeros.
    """
    tiny, offset = torch.finfo(p.dtype).tiny, options.log_offset
    torch.clamp(p, min=tiny if offset == 1 else 0, out=x)
    if offset == 1:
        x.log1p_()
        torch.log1p(g, out=y)
    else:
        # With both logarithms at least tiny, the ratio below gives lambda its two clamps and its zero for max <= 0.
        x.add_(offset).log_().clamp_(min=tiny)
        torch.add(g, offset, out=y).log_().clamp_(min=tiny)
    torch.maximum(x, y, out=z)
    ratio = torch.minimum(x, y, out=x).div_(z)
    through_weight = differentiate and not options.detach_weight
    if through_weight:
        # dlambda/dp (p + o) max(a, b) is the ratio for p > g, -1 for p < g and 0 at p = g.
        torch.minimum(torch.sub(p, g, out=y).sign_(), ratio, out=y)
        if offset == 1:
            y.div_(z.addcmul_(z, p))
        else:
            y.div_(z).div_(torch.add(p, offset, out=z))
        _select(y, p, max(1 - offset, 0), grad_input=y)
    weight = torch.sub(one, ratio, out=ratio).add_(torch.div(g, norm, out=z).clamp_(max=1))
    if options.distance == "smooth_l1":
        _smooth_l1(p, g, 0, options.beta, out=z)
        if differentiate:
            _smooth_l1_backward(weight, p, g, 0, options.beta, grad_input=p)
    elif options.distance == "l1":
        torch.abs(p.sub_(g), out=z)
        p.sign_().mul_(weight)
    else:
        torch.mul(p.sub_(g), p, out=z)
        p.mul_(weight).mul_(2)
    if through_weight:
        p.addcmul_(y, z)
    return z.mul_(weight).sum((1, 2))


def normalisers(pred: Tensor, target: Tensor, mask: Tensor | None, max_depth: float | None) -> Tensor:
    """``max_depth``, or the largest valid target of each image and 0 for one without a valid pixel, (B,)."""
    dtype = compute_dtype(pred, target)
    if max_depth is not None:
        return pred.new_full((len(pred),), max_depth, dtype=dtype)
    target, mask = rows_joined(target, mask)
    maxima = target.new_zeros(len(target), dtype=dtype)
    for images, rows, (buffer,) in Workspace(target, [dtype], None).tiles():
        raw, allowed = cut(images, rows, target, mask)
        g = buffer.view(raw.shape)
        clean_target(raw, allowed, g)
        torch.maximum(maxima[images], g.amax((1, 2)), out=maxima[images])
    return maxima
