"""Resizing an image as two sparse matrices, one per axis, and their transposes as the exact adjoint.

Weighted sums of rows, not matrix products: the cost stays linear in the pixels, and no setting that lets matrix
products run in TF32 or bfloat16 can reach the result.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import interpolate

# torch.embedding_bag is a product of a sparse matrix and dense rows, in one pass, wherever it exists.
_ROW_SUM_DEVICES = ("cpu", "cuda", "xpu")


@dataclass(frozen=True)
class SparseRows:
    """A sparse matrix in compressed rows.

    Args:
        columns: column of each stored entry, row after row, int32 of shape (entries,).
        values: the entries, (entries,).
        starts: where each row's entries begin, int32 of shape (rows,).
        width: number of columns.
    """

    columns: Tensor
    values: Tensor
    starts: Tensor
    width: int

    @classmethod
    def from_taps(cls, index: Tensor, weight: Tensor, width: int) -> SparseRows:
        """The matrix whose row i holds weight[i] at the columns index[i]; both are (rows,taps)."""
        starts = torch.arange(0, index.numel(), index.shape[1], dtype=torch.int32, device=index.device)
        return cls(index.reshape(-1), weight.reshape(-1), starts, width)

    def block_diagonal(self, copies: int) -> SparseRows:
        """The same matrix for each of ``copies`` images stacked on top of each other."""
        image = self._range(copies).unsqueeze(1)
        columns = (self.columns + image * self.width).flatten()
        starts = (self.starts + image * self.columns.numel()).flatten()
        return SparseRows(columns, self.values.repeat(copies), starts, copies * self.width)

    def first(self, part: int, parts: int) -> SparseRows:
        """The first ``part`` of ``parts`` equal groups of rows."""
        if part == parts:
            return self
        entries, rows = self.columns.numel() // parts * part, self.starts.numel() // parts * part
        return SparseRows(self.columns[:entries], self.values[:entries], self.starts[:rows], self.width)

    def __matmul__(self, dense: Tensor) -> Tensor:
        """The product with ``dense`` (width,D), in the dtype of the entries: (rows,D)."""
        if dense.device.type not in _ROW_SUM_DEVICES:
            return self.dense() @ dense
        product: Tensor = torch.embedding_bag(
            dense, self.columns, self.starts, False, 0, False, self.values
        )[0]  # fmt: skip
        return product

    def transposed(self) -> SparseRows:
        """The transpose; entries of a row keep the order of the rows that they came from."""
        columns, order = self.columns.sort(stable=True)
        rows = self._rows()[order].int()
        starts = torch.searchsorted(columns, self._range(self.width), out_int32=True)
        return SparseRows(rows, self.values[order], starts, self.starts.numel())

    def dense(self) -> Tensor:
        """The full matrix, (rows,width)."""
        matrix = self.values.new_zeros(self.starts.numel(), self.width)
        return matrix.index_put_((self._rows(), self.columns.long()), self.values, accumulate=True)

    def _rows(self) -> Tensor:
        return torch.searchsorted(self.starts, self._range(self.columns.numel()), right=True) - 1

    def _range(self, stop: int) -> Tensor:
        return torch.arange(stop, dtype=self.columns.dtype, device=self.columns.device)


def taps(source: int, target: int, mode: str, like: Tensor, span: slice | None = None) -> tuple[Tensor, Tensor]:
    """Which pixels of one axis a resized pixel reads, and how much of each.

    Args:
        source: pixels of the axis before.
        target: pixels of the axis after.
        mode: ``"bilinear"`` without aligned corners, two taps; ``"nearest"`` by pixel centres, one tap.
        like: a tensor with the device and the dtype of the weights.
        span: the resized pixels asked for; None for all.

    Returns:
        int32 indices and weights, both (pixels,taps).
    """
    start, stop = (0, target) if span is None else (span.start, span.stop)
    if mode == "nearest":
        # Asking torch keeps its rounding where a centre falls between two pixels; its rounding in 1-D is another.
        index = torch.arange(source, dtype=like.dtype, device=like.device).view(1, 1, -1, 1)
        index = interpolate(index, (target, 1), mode="nearest-exact").view(-1, 1)[start:stop]
        return index.int(), torch.ones_like(index)
    # Centre i lies at ((2i + 1) source - target) / (2 target): whole numbers up to the last division.
    position = torch.arange(2 * start + 1, 2 * stop, 2, device=like.device).mul_(source).sub_(target).clamp_(min=0)
    lower = position.div(2 * target, rounding_mode="floor")
    share = (position - lower * (2 * target)).to(like.dtype).div_(2 * target)
    upper = (lower + 1).clamp_(max=source - 1)
    return torch.stack((lower, upper), 1).int(), torch.stack((1 - share, share), 1)


def axis(source: int, target: int, mode: str, like: Tensor) -> SparseRows:
    """The matrix that resizes one axis: (target,source). Its transpose is the adjoint."""
    return SparseRows.from_taps(*taps(source, target, mode, like), source)


def source_span(span: slice, source: int, target: int) -> slice:
    """A slice of the source axis that holds every pixel which the resized pixels in ``span`` read, in either mode."""
    low = max(((2 * span.start + 1) * source - target) // (2 * target), 0)
    high = max(((2 * span.stop - 1) * source - target) // (2 * target), 0) + 2
    return slice(low, min(high, source))


def target_span(span: slice, source: int, target: int) -> slice:
    """A slice of the resized axis that holds every pixel which reads a source pixel in ``span``, in either mode."""
    # The bounds of bilinear taps, one pixel wider at each end for nearest centres that rounding moves.
    low = (2 * span.start - 1) * target // (2 * source) - 1 if span.start > 1 else 0
    high = (2 * span.stop + 1) * target // (2 * source) + 2 if span.stop < source else target
    low = min(max(low, 0), target - 1)
    return slice(low, max(min(high, target), low + 1))
