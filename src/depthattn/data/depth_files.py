"""Depth files in metres: units, numbers that stand for missing depth, and numbers that are plainly something else."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthattn.data.codes import read_depth_codes
from depthattn.data.errors import DataError

DEPTH_CODES = ("plain", "sunrgbd")
_MILLIMETRES = 1000.0

# The median of a room or a street lies well inside these; that of millimetres read as metres does not.
_PLAUSIBLE_MEDIAN_M = (0.01, 200.0)
# NYU and most others, KITTI, Virtual KITTI, Middlebury-like disparities, Matterport, TUM and SceneNet, 0.1 mm.
_COMMON_SCALES = (1000, 256, 5000, 1, 100, 512, 4000, 10000)
_COMMON_MEDIAN_M = (0.3, 80.0)
_SAMPLE = 4096

# Depth cameras and renderers write them for "beyond my range": the largest of 16 bits, of halves and of floats.
_LARGEST_16_BIT, _LARGEST_HALF = 65535, 65504
_LARGEST_FLOAT = float(np.finfo(np.float32).max)

# Distinct numbers that make it no accident that all have their low bits in common.
_TELLING = 8
_ROTATED_BITS = 3

_Numbers = npt.NDArray[Any]


@dataclass(frozen=True)
class DepthCoding:
    """How the numbers of depth files are read.

    Args:
        scale: stored units per metre; None: 1000 for integers, 1 for floats.
        code: "plain", "sunrgbd" (rotated left by three bits), or None: plain, and an error where it is plainly not.
        missing: numbers that stand for missing depth, beside those that always do.
        max_depth: depth in metres beyond which depth is missing; None: no limit.

    Example:
        >>> from depthattn.data import DepthCoding
        >>> DepthCoding(scale=256.0, max_depth=80.0)  # KITTI
        DepthCoding(scale=256.0, code=None, missing=(), max_depth=80.0)
    """

    scale: float | None = None
    code: str | None = None
    missing: tuple[float, ...] = ()
    max_depth: float | None = None


def check_depth(coding: DepthCoding, function: str) -> None:
    """Raise ValueError, in the name of ``function``, for an option out of range."""
    if coding.scale is not None and not (math.isfinite(coding.scale) and coding.scale > 0):
        raise ValueError(f"{function}: expected depth_scale > 0, got {coding.scale}")
    if coding.code is not None and coding.code not in DEPTH_CODES:
        raise ValueError(f'{function}: expected depth_code "plain", "sunrgbd" or None, got {coding.code!r}')
    if coding.max_depth is not None and not coding.max_depth > 0:
        raise ValueError(f"{function}: expected max_depth > 0 or None, got {coding.max_depth}")


def read_metres(path: Path, coding: DepthCoding) -> npt.NDArray[np.float32]:
    """Depth (H,W) in metres, 0 where it is missing.

    Missing are 0, negative, NaN and infinite numbers, 65535 in 16 bits, the largest half or float, and what ``coding``
    names.

    Raises:
        DataError: the file does not read, or its numbers are plainly of another unit or rotated.
    """
    codes = read_depth_codes(path)
    if codes.dtype == np.float16:
        # What it is compared with below does not fit into it.
        codes = codes.astype(np.float32)
    scale = _scale(path, codes.dtype, coding.scale)
    measured = _measured(codes, coding.missing)
    in_16_bits = _in_16_bits(codes, measured)
    if in_16_bits is not None:
        codes = _plain(path, in_16_bits, measured, coding.code)
    elif coding.code == "sunrgbd":
        raise DataError(f"RGBDList: {path}: expected 16-bit depth with depth_code='sunrgbd', got {codes.dtype}")
    _check_scale(path, codes[measured], scale)
    metres = np.zeros(codes.shape, dtype=np.float32)
    np.divide(codes, np.float32(scale), out=metres, where=measured, casting="unsafe")
    if coding.max_depth is not None:
        metres[metres > coding.max_depth] = 0.0
    return metres


def scale_in_words(scale: float | None) -> str:
    """What ``DepthCoding(scale)`` takes the numbers for."""
    if scale is None:
        return "whole numbers in millimetres, floats in metres"
    return f"{scale:g} units in a metre"


def _scale(path: Path, dtype: np.dtype[Any], given: float | None) -> float:
    if given is not None:
        return given
    if dtype.kind == "f":
        return 1.0
    if dtype.itemsize == 1:
        raise DataError(
            f"RGBDList: {path}: expected 16-bit depth, floats, or depth_scale for 8-bit numbers "
            "(25.5 where 255 is 10 m), got 8-bit numbers and no depth_scale"
        )
    return _MILLIMETRES


def _measured(codes: _Numbers, missing: tuple[float, ...]) -> npt.NDArray[np.bool_]:
    measured: npt.NDArray[np.bool_] = codes > 0
    sentinels = set(missing)
    if codes.dtype.kind == "f":
        # Also false for NaN; of doubles, the largest float is not the largest number.
        measured &= codes < _LARGEST_FLOAT
        sentinels |= {_LARGEST_16_BIT, _LARGEST_HALF}
    elif codes.dtype.itemsize > 1:
        sentinels |= {_LARGEST_16_BIT, int(np.iinfo(codes.dtype).max)}
    for number in sentinels:
        measured &= codes != number
    return measured


def _in_16_bits(codes: _Numbers, measured: npt.NDArray[np.bool_]) -> _Numbers | None:
    """The measured numbers in 16 bits, in whatever type a 16-bit image was saved again; None if they are others."""
    if codes.dtype == np.uint16:
        return codes
    if codes.dtype.itemsize == 1:
        return None
    known = np.where(measured, codes, 0)
    with np.errstate(invalid="ignore"):
        narrow = known.astype(np.uint16)
    return narrow if np.array_equal(narrow, known) else None


def _plain(path: Path, codes: _Numbers, measured: npt.NDArray[np.bool_], code: str | None) -> _Numbers:
    """The numbers with their rotation, if they have one, undone."""
    if code == "sunrgbd":
        plain = _unrotated(codes)
        if np.mean((codes[measured] & 7) > 1) > 0.5:
            raise DataError(
                f"RGBDList: {path}: expected depth rotated left by three bits (depth_code='sunrgbd'), "
                "got numbers whose low bits are no high ones"
            )
        return plain
    if code is None and _look_rotated(codes[measured]):
        raise DataError(
            f"RGBDList: {path}: expected depth that is stored as it is, got numbers rotated left by three bits, as "
            "SUN RGB-D has them: depth_code='sunrgbd' undoes it, depth_code='plain' takes them as they are"
        )
    return codes


def _unrotated(codes: _Numbers) -> _Numbers:
    return codes >> _ROTATED_BITS | codes << (16 - _ROTATED_BITS)


def _look_rotated(codes: _Numbers) -> bool:
    """Whether the low bits are those of a number that was rotated: the high ones of millimetres below 16 m, 0 or 1."""
    if not codes.size or (codes & 7).max() > 1:
        return False
    plain = np.unique(_unrotated(codes))
    # Numbers in steps that happen to be multiples of eight, as of 1000, stay in steps.
    return len(plain) >= _TELLING and int(np.gcd.reduce(plain)) == 1


def _hint(median: float, farthest: float) -> str:
    """The scales in use that make a stored ``median`` a plausible depth, up to ``farthest`` metres."""
    fitting = [
        f"depth_scale={scale} would give {median / scale:.3g} m"
        for scale in _COMMON_SCALES
        if _COMMON_MEDIAN_M[0] <= median / scale <= farthest
    ]
    return f"; {', '.join(fitting)}" if fitting else ""


def too_far(path: Path, coding: DepthCoding, max_depth: float) -> str | None:
    """What to say of a file most of whose depth lies beyond ``max_depth`` metres; None of others.

    Raises:
        DataError: as :func:`read_metres`.
    """
    metres = read_metres(path, coding)
    metres = metres[metres > 0]
    if not metres.size or np.median(metres) <= max_depth:
        return None
    median, share = float(np.median(metres)), float(np.mean(metres > max_depth))
    stored = median * _scale(path, read_depth_codes(path).dtype, coding.scale)
    return (
        f"{path}: {share:.0%} of its depth is beyond {max_depth:g} m and counts as missing; "
        f"its median is {median:.3g} m{_hint(stored, max_depth)}"
    )


def _check_scale(path: Path, measured: _Numbers, scale: float) -> None:
    if not measured.size:
        return
    sample = measured[:: max(1, measured.size // _SAMPLE)]
    # The farthest number may be the sky's, and most of the image; it says nothing about the scale.
    nearer = sample[sample < sample.max()]
    median = float(np.median(nearer if nearer.size else sample))
    low, high = _PLAUSIBLE_MEDIAN_M
    if low <= median / scale <= high:
        return
    hint = _hint(median, _COMMON_MEDIAN_M[1])
    raise DataError(
        f"RGBDList: {path}: expected a median depth in {low:g}..{high:g} m, "
        f"got {median / scale:g} m with depth_scale={scale:g}{hint}"
    )
