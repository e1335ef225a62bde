"""The passes over tiles that the eager and the compiled semantic focal loss share.

See docs/derivations/semantic_focal.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from depthattn.ops.masking import compute_dtype
from depthattn.ops.tiling import SCRATCH_PART, SMALLEST_TILE, Scratch, add_up, largest_tile, tiles

# What a tile needs per pixel beside its rows of classes, in elements: labels, sums and terms of the formula.
_PER_PIXEL = 16

Sums = tuple[Tensor, Tensor, Tensor]


class FocalSums(Protocol):
    """Sums of values, labelled pixels and sums of their weights, each (b,), of logits (b,K,n) with a target (b,n).

    With ``with_gradient`` the gradient of the values goes into ``rows``, (b,K,n) in the dtype of the arithmetic, which
    may be ``logits`` itself. Without it ``rows`` is scratch.
    """

    def __call__(
        self,
        logits: Tensor,
        target: Tensor,
        weight: Tensor | None,
        gamma: float,
        ignore_index: int,
        rows: Tensor,
        with_gradient: bool,
    ) -> Sums: ...


def _tile_elements(logits: Tensor, per_thread: int) -> int:
    classes = logits.shape[1]
    share = logits.numel() * min(classes, _PER_PIXEL) // (_PER_PIXEL * SCRATCH_PART)
    return min(max(share, SMALLEST_TILE), largest_tile(logits.device, per_thread))


def add_up_sums(parts: Sequence[Sums], like: Tensor) -> Sums:
    """Per image of ``like`` what each tile gave for its images."""
    values, counts, weights = zip(*parts, strict=True) if parts else ((), (), ())
    dtype = compute_dtype(like)
    return add_up(values, like, dtype), add_up(counts, like, torch.int64), add_up(weights, like, dtype)


def pixel_terms(own: Tensor, others: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """The unweighted value of each pixel, and what its row of exponentials is multiplied by in the gradient.

    Args:
        own: z_y - max z.
        others: the sum of exp(z_k - max z) over k != y.
        gamma: the focusing exponent.
    """
    share = own.exp()
    total = share + others
    q = others / total
    # One of the terms is exactly 1: for a saturated pixel this is log1p of the others, not the log of 1 + others.
    surprise = torch.log1p(share - 1 + others) - own
    fade = q.pow(gamma)
    limits = torch.finfo(own.dtype)
    # The clamps turn 0 * inf at p = 0 and 0 / 0 at q = 0 into their limit, zero.
    bend = gamma * (share / total) * surprise.clamp(max=limits.max) / q.clamp(min=limits.tiny)
    return fade * surprise, fade * (1 + bend) / total


def forward(
    focal_sums: FocalSums,
    per_thread: int,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    gamma: float,
    ignore_index: int,
    keep_gradient: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    batch, classes, length = logits.shape
    dtype = compute_dtype(logits)
    gradient = logits.new_empty(logits.shape if keep_gradient else 0)
    elements = _tile_elements(logits, per_thread)
    scratch = None if keep_gradient else Scratch(logits, 1, max(elements, classes), dtype)
    parts = []
    for images, span in tiles(batch, length, classes, elements):
        z = logits[images, :, span]
        rows = gradient[images, :, span] if scratch is None else scratch.shaped(*z.shape)[0]
        parts.append(focal_sums(z, target[images, span], weight, gamma, ignore_index, rows, keep_gradient))
    return *add_up_sums(parts, logits), gradient


def backward(
    focal_sums: FocalSums,
    per_thread: int,
    scale: Tensor,
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None,
    gamma: float,
    ignore_index: int,
) -> Tensor:
    batch, classes, length = logits.shape
    dtype = compute_dtype(logits)
    gradient = logits.new_empty(logits.shape)
    elements = _tile_elements(logits, per_thread)
    scratch = None if dtype == logits.dtype else Scratch(logits, 1, max(elements, classes), dtype)
    for images, span in tiles(batch, length, classes, elements):
        z, out = logits[images, :, span], gradient[images, :, span]
        rows = out if scratch is None else scratch.shaped(*z.shape)[0]
        focal_sums(z, target[images, span], weight, gamma, ignore_index, rows, True)
        rows.mul_(scale[images].view(-1, 1, 1))
        if scratch is not None:
            out.copy_(rows)
    return gradient
