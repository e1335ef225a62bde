"""Sobel windows on a tile of rows laid out flat: a step down is W elements, a stencil is a sum of shifted views.

Windows that would wrap around the edge of an image do not count. Comparisons and torch.where are not vectorised on the
CPU: pixels are selected by minima, signs and threshold_backward(x, y, t), which is x where y > t and 0 elsewhere,
whatever x is there. docs/derivations/joint_gradient.md derives the slopes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from depthattn.ops.masking import clean_target

_select = torch.ops.aten.threshold_backward.grad_input

BUFFERS = 4


class Stencil:
    """One term on one tile at a time: which windows count, the sum of their values, and its slopes.

    Window i has its top left corner at pixel i. Of the four buffers, 0 says which windows count (> 0) and 1 holds the
    map whose edges are taken; :meth:`values` leaves the signs of the horizontal and vertical edges in 2 and 0.

    Args:
        like: a tensor on the device of the inputs.
        width: W.
        elements: pixels of the largest tile.
        dtype: of the arithmetic.
    """

    def __init__(self, like: Tensor, width: int, elements: int, dtype: torch.dtype) -> None:
        self._width = width
        # Before the signs in 2 and 0, zeros stand for the windows above the first row of an image.
        self._lead = 2 * width + 2
        self._buffers = [like.new_empty(self._lead + elements, dtype=dtype) for _ in range(BUFFERS)]
        for index in (0, 2):
            self._buffers[index][: self._lead] = 0
        self.resize(0, 0)

    def resize(self, images: int, rows: int) -> None:
        """Set the size of the tile."""
        self._shape = images, rows, self._width
        self._numel = images * rows * self._width

    def depth_term(self, pred: Tensor, target: Tensor, mask: Tensor | None) -> None:
        """Load windows of nine valid targets and the error."""
        valid, error = self._maps(0), self._maps(1)
        clean_target(target, mask, valid)
        _select(pred if pred.dtype == error.dtype else error.copy_(pred), valid, 0, grad_input=error)
        error.sub_(valid)
        self._all_of_nine()

    def map_term(self, pred: Tensor, semantics: Tensor) -> None:
        """Load windows of nine finite values of a float map, and the difference from it."""
        finite, difference = self._maps(0), self._maps(1)
        difference.copy_(semantics)
        torch.sub(difference, difference, out=finite).nan_to_num_(-1).add_(1)
        difference.nan_to_num_(0, 0, 0)
        torch.sub(pred, difference, out=difference)
        self._all_of_nine()

    def class_term(self, pred: Tensor, labels: Tensor, ignore_index: int) -> None:
        """Load windows inside one class, and the prediction."""
        self._maps(1).copy_(pred)
        numel, width = self._numel, self._width
        rows, windows = numel - 2 * width, numel - 2 * width - 2
        # Four masks of one byte fit the memory of one buffer.
        down, right, known, spare = self._flat(2).view(torch.bool)[: 4 * numel].view(4, numel)
        torch.eq(labels[:, :-1], labels[:, 1:], out=down.view(self._shape)[:, :-1])
        torch.eq(labels[..., :-1], labels[..., 1:], out=right.view(self._shape)[..., :-1])
        limits = torch.iinfo(labels.dtype)
        if limits.min <= ignore_index <= limits.max:
            right.logical_and_(torch.ne(labels, ignore_index, out=known.view(self._shape)).view(-1))
        torch.logical_and(down[:rows], down[width : width + rows], out=spare[:rows])
        torch.logical_and(spare[: rows - 1], spare[1:rows], out=down[: rows - 1])
        torch.logical_and(down[:windows], down[1 : windows + 1], out=spare[:windows])
        torch.logical_and(right[width:][:windows], right[width + 1 :][:windows], out=known[:windows])
        self._flat(0, 0, windows).copy_(spare[:windows].logical_and_(known[:windows]))
        self._drop_wrapped()

    def windows(self, own: slice) -> Tensor:
        """How many windows count, (images,), of those that start in the rows ``own``."""
        torch.sign(self._flat(0), out=self._flat(2))
        return self._maps(2)[:, own].sum((1, 2))

    def values(self, own: slice, differentiate: bool) -> Tensor:
        """Sum |Sh x| + |Sv x| over the windows that count and start in the rows ``own``, (images,)."""
        width, numel = self._width, self._numel
        rows, windows = numel - 2 * width, numel - 2 * width - 2
        counted, x, sums = self._flat(0), self._flat(1), self._flat(2, 0, rows)
        torch.add(x[:rows], x[width:-width], alpha=2, out=sums).add_(x[2 * width :])
        horizontal, vertical = self._flat(3), self._flat(1)
        torch.sub(sums[2:], sums[:-2], out=horizontal[:windows])
        torch.sub(x[2 * width :], x[:rows], out=sums)
        torch.add(sums[:-2], sums[1:-1], alpha=2, out=vertical[:windows]).add_(sums[2:])
        _select(horizontal, counted, 0, grad_input=horizontal)
        _select(vertical, counted, 0, grad_input=vertical)
        if differentiate:
            horizontal.mul_(torch.sign(horizontal, out=self._flat(2)))
            horizontal.addcmul_(vertical, torch.sign(vertical, out=self._flat(0)))
        else:
            horizontal.abs_().add_(vertical.abs_())
        return self._maps(3)[:, own].sum((1, 2))

    def slopes(self, start: int, out: Tensor, factor: float | None) -> None:
        """Write the slopes of the last :meth:`values` from pixel ``start`` on, or add ``factor`` times them."""
        width, stop = self._width, start + out.numel()
        across, along = self._flat(3, -2, out.numel()), self._flat(1, -2, out.numel())
        near, far = self._flat(2, start - 2, stop), self._flat(2, start - 2 - 2 * width, stop - 2 * width)
        torch.add(near, self._flat(2, start - 2 - width, stop - width), alpha=2, out=across).add_(far)
        near, far = self._flat(0, start - 2, stop), self._flat(0, start - 2 - 2 * width, stop - 2 * width)
        torch.sub(far, near, out=along)
        if factor is None:
            torch.sub(across[:-2], across[2:], out=out)
            factor = 1
        else:
            out.add_(across[:-2], alpha=factor).sub_(across[2:], alpha=factor)
        out.add_(along[:-2], alpha=factor).add_(along[1:-1], alpha=2 * factor).add_(along[2:], alpha=factor)

    def spare(self, like: Tensor) -> Tensor:
        """A buffer that is free after :meth:`slopes`, of a shape within the tile."""
        return self._flat(3, 0, like.numel()).view(like.shape)

    def _flat(self, index: int, start: int = 0, stop: int | None = None) -> Tensor:
        """Pixels [start, stop) of a buffer, all of the tile by default."""
        return self._buffers[index][self._lead + start : self._lead + (self._numel if stop is None else stop)]

    def _maps(self, index: int) -> Tensor:
        return self._flat(index).view(self._shape)

    def _all_of_nine(self) -> None:
        """Turn pixels > 0 in buffer 0 into windows > 0 by a minimum over the nine."""
        width, numel = self._width, self._numel
        rows, windows = numel - 2 * width, numel - 2 * width - 2
        pixels, column = self._flat(0), self._flat(2, 0, rows)
        torch.minimum(pixels[:rows], pixels[width:-width], out=column)
        torch.minimum(column, pixels[2 * width :], out=column)
        torch.minimum(column[:-2], column[1:-1], out=pixels[:windows])
        torch.minimum(pixels[:windows], column[2:], out=pixels[:windows])
        self._drop_wrapped()

    def _drop_wrapped(self) -> None:
        counted = self._maps(0)
        counted[..., -2:] = 0
        counted[:, -2:] = 0
