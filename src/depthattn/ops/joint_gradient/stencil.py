"""Sobel windows on a tile of rows laid out flat: a step down is W elements, a stencil is a sum of shifted views.

Windows that would wrap around the edge of an image do not count. What vectorises on the CPU decides how a step is
written: indicators, signs and slopes are whole numbers of one byte, which cost a quarter of a float; a bool is copied
through its bytes; torch.where and comparisons of floats are avoided by signs and threshold_backward(x, y, t), which is
x where y > t and 0 elsewhere, whatever x is there. docs/derivations/joint_gradient.md derives the slopes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from depthattn.ops.masking import clean_target

_select = torch.ops.aten.threshold_backward.grad_input

FLOATS, BYTES = 4, 6


def buffer_types(dtype: torch.dtype) -> list[torch.dtype]:
    """The buffers that a tile of ``dtype`` needs, each with :func:`lead` elements before the tile."""
    return [dtype] * FLOATS + [torch.int8] * BYTES


def lead(width: int) -> int:
    """Elements before a tile, which stand for the windows above the first row of an image."""
    return 2 * width + 2


class Stencil:
    """One term on one tile at a time: which windows count, the sum of their values, and its slopes.

    Window i has its top left corner at pixel i.

    Args:
        buffers: of :func:`buffer_types`.
        shape: images, rows and columns of the tile.
    """

    def __init__(self, buffers: Sequence[Tensor], shape: Sequence[int]) -> None:
        images, rows, self._width = self._shape = tuple(shape)
        self._numel = images * rows * self._width
        self._lead = lead(self._width)
        self._counted, self._x, self._a, self._b = range(FLOATS)
        self._horizontal, self._vertical, self._windows, *self._spare = range(FLOATS, FLOATS + BYTES)
        self._buffers = buffers
        for index in (self._horizontal, self._vertical):
            buffers[index][: self._lead] = 0

    def depth_term(self, pred: Tensor, target: Tensor, mask: Tensor | None) -> None:
        """Load windows of nine valid targets and the error."""
        valid, error = self._maps(self._counted), self._maps(self._x)
        clean_target(target, mask, valid)
        _select(pred if pred.dtype == error.dtype else error.copy_(pred), valid, 0, grad_input=error)
        error.sub_(valid)
        self.all_of_nine(torch.sign(valid, out=valid))

    def map_term(self, pred: Tensor, semantics: Tensor) -> None:
        """Load windows of nine finite values of a float map, and the difference from it."""
        finite, difference = self._maps(self._counted), self._maps(self._x)
        difference.copy_(semantics)
        torch.sub(difference, difference, out=finite).nan_to_num_(-1).add_(1)
        difference.nan_to_num_(0, 0, 0)
        torch.sub(pred, difference, out=difference)
        self.all_of_nine(finite)

    def class_term(self, pred: Tensor, labels: Tensor, ignore_index: int) -> None:
        """Load windows inside one class, and the prediction."""
        self._maps(self._x).copy_(pred)
        self.inside_one_class(labels, ignore_index)

    def valid_pixels(self, target: Tensor, mask: Tensor | None) -> Tensor:
        """1 where the target is valid, else 0, for :meth:`all_of_nine`."""
        valid = self._maps(self._counted)
        clean_target(target, mask, valid)
        return valid.sign_()

    def all_of_nine(self, indicator: Tensor) -> None:
        """Make windows of nine pixels whose ``indicator`` is 1, not 0, the ones that count."""
        width, numel = self._width, self._numel
        rows, windows = numel - 2 * width, numel - 2 * width - 2
        pixels, column = self._flat(self._spare[0]), self._flat(self._spare[1], 0, rows)
        pixels.copy_(indicator.view(-1))
        torch.minimum(pixels[:rows], pixels[width:-width], out=column)
        torch.minimum(column, pixels[2 * width :], out=column)
        torch.minimum(column[:-2], column[1:-1], out=pixels[:windows])
        torch.minimum(pixels[:windows], column[2:], out=self._flat(self._windows, 0, windows))
        self._use_windows()

    def inside_one_class(self, labels: Tensor, ignore_index: int) -> None:
        """Make windows of nine equal labels, not ``ignore_index``, the ones that count."""
        numel, width = self._numel, self._width
        rows, windows = numel - 2 * width, numel - 2 * width - 2
        down, right, known = (self._flat(index).view(torch.bool) for index in self._spare)
        torch.eq(labels[:, :-1], labels[:, 1:], out=down.view(self._shape)[:, :-1])
        torch.eq(labels[..., :-1], labels[..., 1:], out=right.view(self._shape)[..., :-1])
        limits = torch.iinfo(labels.dtype)
        if limits.min <= ignore_index <= limits.max:
            right.logical_and_(torch.ne(labels, ignore_index, out=known.view(self._shape)).view(-1))
        torch.logical_and(down[:rows], down[width : width + rows], out=known[:rows])
        torch.logical_and(known[: rows - 1], known[1:rows], out=down[: rows - 1])
        torch.logical_and(down[:windows], down[1 : windows + 1], out=known[:windows])
        known = known[:windows].logical_and_(right[width:][:windows])
        torch.logical_and(known, right[width + 1 :][:windows], out=self._flat(self._windows).view(torch.bool)[:windows])
        self._use_windows()

    def windows(self, own: slice) -> Tensor:
        """How many windows count, (images,), of those that start in the rows ``own``."""
        return self._maps(self._counted)[:, own].sum((1, 2))

    def values(self, own: slice, differentiate: bool) -> Tensor:
        """Sum |Sh x| + |Sv x| over the windows that count and start in the rows ``own``, (images,)."""
        width, numel = self._width, self._numel
        rows, windows = numel - 2 * width, numel - 2 * width - 2
        x, sums = self._flat(self._x), self._flat(self._a, 0, rows)
        torch.add(x[:rows], x[width:-width], alpha=2, out=sums).add_(x[2 * width :])
        horizontal, vertical = self._flat(self._b), self._flat(self._x)
        torch.sub(sums[2:], sums[:-2], out=horizontal[:windows])
        torch.sub(x[2 * width :], x[:rows], out=sums)
        torch.add(sums[:-2], sums[1:-1], alpha=2, out=vertical[:windows]).add_(sums[2:])
        return self._signed_sum(self._b, self._horizontal, own, differentiate) + self._signed_sum(
            self._x, self._vertical, own, differentiate
        )

    def slopes(self, start: int, shape: Sequence[int]) -> Tensor:
        """The slopes of the last :meth:`values` towards the pixels from ``start`` on, as whole numbers of ``shape``."""
        pixels = math.prod(shape)
        width, stop = self._width, start + pixels
        across, along, slopes = (self._buffers[index][: pixels + 2] for index in self._spare)
        near, far = self._flat(self._horizontal, start - 2, stop), start - 2 - 2 * width
        middle = self._flat(self._horizontal, start - 2 - width, stop - width)
        torch.add(near, middle, alpha=2, out=across).add_(self._flat(self._horizontal, far, stop - 2 * width))
        near = self._flat(self._vertical, start - 2, stop)
        torch.sub(self._flat(self._vertical, far, stop - 2 * width), near, out=along)
        slopes = torch.sub(across[:-2], across[2:], out=slopes[:-2])
        return slopes.add_(along[:-2]).add_(along[1:-1], alpha=2).add_(along[2:]).view(*shape)

    def spare(self, like: Tensor) -> Tensor:
        """A buffer that is free after :meth:`values`, of a shape within the tile."""
        return self._flat(self._a, 0, like.numel()).view(like.shape)

    def _flat(self, index: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Pixels [start, stop) of a buffer, all of the tile by default."""
        return self._buffers[index][self._lead + start : self._lead + (self._numel if stop is None else stop)]

    def _maps(self, index: int) -> Tensor:
        return self._flat(index).view(self._shape)

    def _signed_sum(self, edges: int, signs: int, own: slice, differentiate: bool) -> Tensor:
        """Drop the edges of windows that do not count, keep their signs, and sum their sizes, (images,)."""
        edge = self._flat(edges)
        _select(edge, self._flat(self._counted), 0, grad_input=edge)
        if differentiate:
            self._flat(signs).copy_(torch.sign(edge, out=self._flat(self._a)))
        return self._maps(edges)[:, own].abs_().sum((1, 2))

    def _use_windows(self) -> None:
        windows = self._maps(self._windows)
        # Their corners are too far right or too far down: they would wrap around, or start in rows not loaded.
        windows[..., -2:] = 0
        windows[:, -2:] = 0
        self._maps(self._counted).copy_(windows)
