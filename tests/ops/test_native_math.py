"""exp, log, log1p and the conversions of the C++ kernels, on every instruction set, over all exponents."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache

import numpy as np
import pytest
import torch
from tests.ops.native_calls import call, usable
from torch import Tensor

pytestmark = pytest.mark.native

FORMATS = {torch.float32: (np.float32, np.uint32, 23, 254), torch.float64: (np.float64, np.uint64, 52, 2046)}
SPECIAL = [0.0, -0.0, float("inf"), -float("inf"), float("nan"), 1.0, -1.0, 0.5, 2.0]
# What the kernels promise, in units of the last place of the result.
ULPS = 2.0
each_instruction_set = pytest.mark.parametrize("instructions", usable())
each_dtype = pytest.mark.parametrize("dtype", FORMATS, ids=str)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor does not flush denormals")
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def every_exponent(dtype: torch.dtype, *, normal: bool = False) -> np.ndarray:
    """Random mantissas, the least and the greatest one of each exponent; denormals too unless ``normal``."""
    number, bits, mantissa, largest = FORMATS[dtype]
    rng = np.random.default_rng(0)
    each = 1024 if dtype == torch.float32 else 128
    fractions = rng.integers(0, 1 << mantissa, (largest + 1, each), dtype=bits)
    fractions[:, 0], fractions[:, 1] = 0, (1 << mantissa) - 1
    exponents = np.arange(largest + 1, dtype=bits)[:, None] << bits(mantissa)
    x = (exponents | fractions).view(number)[int(normal) :].ravel()
    return np.concatenate([x, -x, SPECIAL]).astype(number)


def reference(function: str, x: np.ndarray) -> np.ndarray:
    """In numbers of at least 11 bits more than the argument's."""
    if x.dtype == np.float64 and np.finfo(np.longdouble).nmant < 63:
        pytest.skip("needs a long double that is longer than a double")
    with np.errstate(all="ignore"):
        return getattr(np, function)(x.astype(np.float64 if x.dtype == np.float32 else np.longdouble))


@cache
def wanted_over_all_exponents(function: str, dtype: torch.dtype, *, normal: bool = False) -> np.ndarray:
    return reference(function, every_exponent(dtype, normal=normal))


def errors_in_ulps(actual: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Distances in units of the last place of what is wanted; infinities, NaN and overflow have to be the same."""
    with np.errstate(all="ignore"):
        rounded = wanted.astype(actual.dtype)
        finite = np.isfinite(rounded)
        same = (actual == rounded) | (np.isnan(actual) & np.isnan(rounded))
        unit = np.spacing(np.abs(np.where(finite, rounded, 0)))
        error = np.abs(actual.astype(wanted.dtype) - np.where(finite, wanted, 0)) / unit.astype(wanted.dtype)
    # Just below the largest number, an infinity is as near as a number.
    return np.where(finite, error, np.where(same, 0, np.inf))


def worst(function: str, x: np.ndarray, dtype: torch.dtype, instructions: str, wanted: np.ndarray) -> tuple[float, str]:
    actual = call(function, torch.from_numpy(x), dtype, instructions).numpy()
    errors = errors_in_ulps(actual, wanted)
    errors = np.where(np.isnan(errors), np.inf, errors)
    at = int(errors.argmax())
    return float(errors[at]), f"{function}({x[at]!r}) = {actual[at]!r}, expected {wanted[at]!r}"


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("function", ["exp", "log", "log1p"])
def test_within_two_units_over_all_exponents(function: str, dtype: torch.dtype, instructions: str) -> None:
    x = every_exponent(dtype)
    error, where = worst(function, x, dtype, instructions, wanted_over_all_exponents(function, dtype))
    assert error <= ULPS, where


@each_instruction_set
@each_dtype
def test_exp_near_its_limits(dtype: torch.dtype, instructions: str) -> None:
    number, *_ = FORMATS[dtype]
    top = float(np.log(np.float64(np.finfo(number).max)))
    bottom = float(np.log(np.finfo(number).smallest_normal)) * 1.2
    x = np.concatenate([np.linspace(top - 2, top + 2, 50_001), np.linspace(bottom, 2, 50_001)]).astype(number)
    error, where = worst("exp", x, dtype, instructions, reference("exp", x))
    assert error <= ULPS, where


@each_instruction_set
@each_dtype
@pytest.mark.parametrize(
    ("function", "at"),
    [("log", 1.0), ("log1p", 0.0), ("log1p", -1.0), ("log", 0.7071067811865476), ("log", 0.75), ("log1p", 0.5)],
)
def test_where_the_logarithm_cancels(function: str, at: float, dtype: torch.dtype, instructions: str) -> None:
    number, *_ = FORMATS[dtype]
    steps = np.arange(-25_000, 25_000) * float(np.spacing(number(at or 1e-3)))
    near = np.concatenate([at + steps, at + np.linspace(-0.4, 0.6, 50_001)]).astype(number)
    error, where = worst(function, near, dtype, instructions, reference(function, near))
    assert error <= ULPS, where


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("flushed", [False, True])
def test_exp_of_negative_numbers(dtype: torch.dtype, instructions: str, *, flushed: bool) -> None:
    number, *_ = FORMATS[dtype]
    lowest = float(np.log(np.finfo(number).smallest_normal))
    x = every_exponent(dtype, normal=True)
    near = np.concatenate([np.linspace(lowest - 1, 0, 50_001), lowest + np.linspace(-1e-3, 1e-3, 50_001)])
    x = np.concatenate([x[(x <= 0) | np.isnan(x)], near]).astype(number)
    wanted = reference("exp", x)
    # What would be denormal is 0. An argument next to that of the least normal number may be on either side.
    wanted[wanted < np.finfo(number).smallest_normal] = 0
    x, wanted = (values[np.abs(x - lowest) > 4 * np.spacing(number(-lowest))] for values in (x, wanted))
    with flushed_denormals() if flushed else nullcontext():
        actual = call("exp_of_negative", torch.from_numpy(x), dtype, instructions).numpy()
    errors = errors_in_ulps(actual, wanted)
    at = int(errors.argmax())
    assert errors[at] <= ULPS, (x[at], actual[at], wanted[at])


@each_instruction_set
@each_dtype
def test_log1p_of_positive_numbers(dtype: torch.dtype, instructions: str) -> None:
    number, *_ = FORMATS[dtype]
    x = every_exponent(dtype)
    x = np.concatenate([x[x >= 0], np.linspace(0, 12, 100_001)]).astype(number)
    error, where = worst("log1p_of_positive", x, dtype, instructions, reference("log1p", x))
    assert error <= ULPS, where


@each_instruction_set
@each_dtype
@pytest.mark.parametrize("function", ["exp", "log", "log1p"])
def test_the_same_where_denormals_are_flushed(function: str, dtype: torch.dtype, instructions: str) -> None:
    number, *_ = FORMATS[dtype]
    x = every_exponent(dtype, normal=True)
    wanted = wanted_over_all_exponents(function, dtype, normal=True)
    tiny = np.finfo(number).smallest_normal
    # A result that would be denormal is 0, and the least normal one may be.
    kept = ~(np.abs(wanted) < tiny * 1.001) | (wanted == 0)
    with flushed_denormals():
        actual = call(function, torch.from_numpy(x), dtype, instructions).numpy()
    errors = errors_in_ulps(actual[kept], wanted[kept])
    at = int(errors.argmax())
    assert errors[at] <= ULPS, (x[kept][at], actual[kept][at], wanted[kept][at])
    assert (np.abs(actual[~kept]) <= tiny * 1.002).all()


@each_instruction_set
@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
class TestHalfPrecision:
    def test_every_number_is_read_as_torch_reads_it(self, dtype: torch.dtype, stride: int, instructions: str) -> None:
        every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
        spread = every.repeat_interleave(stride)[::stride]
        actual = call("convert", spread, torch.float32, instructions, stride=stride)
        same_bits(actual, every.float())

    def test_every_number_comes_back(self, dtype: torch.dtype, stride: int, instructions: str) -> None:
        every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
        actual = call("convert", every.float(), dtype, instructions, stride=stride)
        same_bits(actual, every)

    def test_rounds_as_torch_does(self, dtype: torch.dtype, stride: int, instructions: str) -> None:
        x = torch.from_numpy(every_exponent(torch.float32))
        # Ties, and their neighbours on both sides.
        halves = torch.arange(2**15 - 1, dtype=torch.int16).view(dtype).double()
        halves = halves[halves.isfinite()]
        ties = ((halves[:-1] + halves[1:]) / 2).float()
        ties = torch.cat([ties, torch.nextafter(ties, ties + 1), torch.nextafter(ties, ties - 1)])
        x = torch.cat([x, ties, -ties])
        actual = call("convert", x, dtype, instructions, stride=stride)
        same_bits(actual, x.to(dtype))

    def test_survives_flushed_denormals(self, dtype: torch.dtype, stride: int, instructions: str) -> None:
        # The denormals of half precision are normal numbers of float32.
        every = torch.arange(2**16, dtype=torch.int32).to(torch.int16).view(dtype)
        every = every[every.float().abs() >= 2.0**-126]
        with flushed_denormals():
            there = call("convert", every, torch.float32, instructions, stride=stride)
            back = call("convert", there, dtype, instructions, stride=stride)
        same_bits(there, every.float())
        same_bits(back, every)


def same_bits(actual: Tensor, wanted: Tensor) -> None:
    """Equal bit for bit; any NaN equals any other."""
    integer = {2: torch.int16, 4: torch.int32}[wanted.element_size()]
    different = actual.contiguous().view(integer) != wanted.contiguous().view(integer)
    different &= ~(actual.isnan() & wanted.isnan())
    assert not different.any(), (wanted[different][:5], actual[different][:5])


@each_instruction_set
@pytest.mark.parametrize("convert", [torch.float32, torch.float64], ids=str)
def test_a_result_in_place_and_one_with_a_stride_are_the_same(convert: torch.dtype, instructions: str) -> None:
    x = torch.linspace(-3, 3, 1001, dtype=convert)
    assert torch.equal(call("exp", x, convert, instructions), call("exp", x, convert, instructions, stride=2))
