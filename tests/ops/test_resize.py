"""Resizing one axis: the matrices against interpolation, their transposes, and the spans that tiles rely on."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from depthattn.ops.resize import SparseRows, axis, source_span, taps, target_span

DOUBLE = torch.empty(0, dtype=torch.float64)
SIZES = [(1, 1), (1, 7), (7, 1), (2, 5), (5, 5), (5, 10), (10, 5), (7, 120), (23, 14), (14, 23), (6, 4), (4, 17)]
SPANS = [(source, target) for source in range(1, 12) for target in range(1, 12)] + [(3, 40), (40, 3)]


def interpolated(source: int, target: int, mode: str) -> Tensor:
    """The columns of the matrix, by resizing unit vectors in two dimensions as torch does."""
    units = torch.eye(source, dtype=torch.float64).view(source, 1, source, 1)
    if mode == "nearest":
        resized = interpolate(units, (target, 1), mode="nearest-exact")
    else:
        resized = interpolate(units, (target, 1), mode="bilinear", align_corners=False)
    return resized.view(source, target).t()


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_the_matrix_is_that_of_interpolate(source: int, target: int, mode: str) -> None:
    matrix = axis(source, target, mode, DOUBLE)
    torch.testing.assert_close(matrix.dense(), interpolated(source, target, mode), rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_rows_sum_to_one_so_that_constants_stay_constant(source: int, target: int, mode: str) -> None:
    rows = axis(source, target, mode, torch.empty(0)).dense().sum(1)
    torch.testing.assert_close(rows, torch.ones(target), rtol=0, atol=1.2e-7)


def test_bilinear_weights_of_doubling_three_pixels() -> None:
    expected = [[1, 0, 0], [0.75, 0.25, 0], [0.25, 0.75, 0], [0, 0.75, 0.25], [0, 0.25, 0.75], [0, 0, 1]]
    assert axis(3, 6, "bilinear", torch.empty(0)).dense().tolist() == expected


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_products_and_transposed_products_are_those_of_the_dense_matrix(source: int, target: int, mode: str) -> None:
    matrix = axis(source, target, mode, DOUBLE)
    dense = matrix.dense()
    rows, back = torch.randn(source, 3, dtype=torch.float64), torch.randn(target, 3, dtype=torch.float64)
    torch.testing.assert_close(matrix @ rows, dense @ rows)
    torch.testing.assert_close(matrix.transposed() @ back, dense.t() @ back)
    assert torch.equal(matrix.transposed().dense(), dense.t())
    assert torch.equal(matrix.transposed().transposed().dense(), dense)


def test_rows_without_entries_give_zero() -> None:
    matrix = axis(9, 2, "nearest", torch.empty(0)).transposed()
    product = matrix @ torch.ones(2, 4)
    assert product.mean(1).tolist() == [0, 0, 1, 0, 0, 0, 1, 0, 0]


def test_a_device_without_row_sums_gets_the_same_from_the_dense_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix, rows = axis(5, 8, "bilinear", DOUBLE), torch.randn(5, 6, dtype=torch.float64)
    wanted = matrix @ rows
    monkeypatch.setattr("depthattn.ops.resize._ROW_SUM_DEVICES", ())
    torch.testing.assert_close(matrix @ rows, wanted)


def test_block_diagonal_and_its_first_blocks() -> None:
    matrix = axis(3, 5, "bilinear", DOUBLE)
    stacked = matrix.block_diagonal(4)
    assert torch.equal(stacked.dense(), torch.block_diag(*[matrix.dense()] * 4))
    rows = torch.randn(12, 2, dtype=torch.float64)
    assert torch.equal(stacked.first(3, 4) @ rows, (stacked @ rows)[:15])
    assert stacked.first(4, 4) is stacked


def test_from_taps_adds_up_entries_of_one_column() -> None:
    index = torch.tensor([[0, 0], [2, 1]], dtype=torch.int32)
    matrix = SparseRows.from_taps(index, torch.tensor([[0.5, 0.25], [2.0, 3.0]]), 3)
    assert matrix.dense().tolist() == [[0.75, 0, 0], [0, 3.0, 2.0]]


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_a_span_of_taps_is_a_part_of_all_taps(mode: str) -> None:
    index, weight = taps(7, 12, mode, DOUBLE)
    some_index, some_weight = taps(7, 12, mode, DOUBLE, slice(3, 9))
    assert torch.equal(some_index, index[3:9])
    assert torch.equal(some_weight, weight[3:9])


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("source", "target"), SPANS)
def test_source_span_holds_every_pixel_that_is_read(source: int, target: int, mode: str) -> None:
    index, _ = taps(source, target, mode, torch.empty(0))
    for start in range(target):
        for stop in range(start + 1, target + 1):
            span = source_span(slice(start, stop), source, target)
            assert 0 <= span.start <= int(index[start:stop].min())
            assert int(index[start:stop].max()) < span.stop <= source


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(("source", "target"), SPANS)
def test_target_span_holds_every_reader(source: int, target: int, mode: str) -> None:
    index, _ = taps(source, target, mode, torch.empty(0))
    for start in range(source):
        for stop in range(start + 1, source + 1):
            span = target_span(slice(start, stop), source, target)
            assert 0 <= span.start < span.stop <= target
            reads = ((index >= start) & (index < stop)).any(1).nonzero().flatten().tolist()
            assert set(reads) <= set(range(span.start, span.stop))


def test_spans_grow_with_what_they_cover_only() -> None:
    """Tiles of a large map must not read all of it."""
    for source, target in [(1000, 4000), (4000, 1000), (1001, 999)]:
        read = source_span(slice(500, 600), source, target)
        assert read.stop - read.start <= 100 * source / target + 3
        readers = target_span(slice(500, 600), source, target)
        assert readers.stop - readers.start <= 102 * target / source + 4
