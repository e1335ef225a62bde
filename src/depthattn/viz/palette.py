"""Class colours that stay apart for readers with and without colour blindness."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

IGNORED_LABEL = (128, 128, 128)

_SRGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = _SRGB_TO_XYZ.sum(axis=1)

# Severity 1.0 of Machado, Oliveira, Fernandes (2009), on linear RGB.
_PROTANOPIA = np.array(
    [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]
)
_DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)

# A reader with normal vision gains little beyond this advantage, one with colour blindness loses much.
_COLOUR_BLIND_WEIGHT = 1.5

# Lightness and chroma in CIELAB: clear of black, white and grey, and short of neon.
_LIGHTNESS = (25.0, 92.0)
_CHROMA = (25.0, 75.0)

# Neutral colours already carry a meaning on a sheet: the page, the text and the pixels with no label.
_TAKEN = np.array([(255, 255, 255), (0, 0, 0), IGNORED_LABEL], dtype=np.float64)


def label_palette(num_classes: int) -> npt.NDArray[np.uint8]:
    """Fixed, distinct colours for class labels, shape (num_classes, 3).

    Each colour is the candidate farthest from all those before it, where the distance of two colours is the
    smallest of their CIELAB distances under normal, protanopic and deuteranopic vision, the last two counted
    one and a half times. So a class has the same colour for any number of classes.

    Args:
        num_classes: number of colours, 1 to 1000.

    Returns:
        RGB in 0..255, read-only.

    Raises:
        ValueError: ``num_classes`` is out of range.

    Example:
        >>> from depthattn.viz import label_palette
        >>> palette = label_palette(12)
        >>> palette.shape, bool((label_palette(40)[:12] == palette).all())
        ((12, 3), True)
    """
    if not 1 <= num_classes <= 1000:
        raise ValueError(f"label_palette: expected num_classes from 1 to 1000, got {num_classes}")
    return _farthest_colours(num_classes)


@lru_cache(maxsize=8)
def _farthest_colours(count: int) -> npt.NDArray[np.uint8]:
    levels = np.arange(0, 256, 15, dtype=np.float64)
    candidates = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    seen = _lab_by_vision(candidates)
    lightness, chroma = seen[:, 0, 0], np.hypot(seen[:, 0, 1], seen[:, 0, 2])
    usable = (lightness > _LIGHTNESS[0]) & (lightness < _LIGHTNESS[1])
    usable &= (chroma > _CHROMA[0]) & (chroma < _CHROMA[1])
    candidates, seen = candidates[usable], seen[usable]
    nearest = np.full(len(candidates), np.inf)
    for taken in _lab_by_vision(_TAKEN):
        nearest = np.minimum(nearest, _distance(seen, taken))
    chosen = []
    for _ in range(count):
        best = int(nearest.argmax())
        chosen.append(best)
        nearest = np.minimum(nearest, _distance(seen, seen[best]))
    palette = candidates[chosen].astype(np.uint8)
    palette.flags.writeable = False
    return palette


def _distance(colours: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    weights = np.array([1.0, _COLOUR_BLIND_WEIGHT, _COLOUR_BLIND_WEIGHT])
    smallest: npt.NDArray[np.float64] = (np.linalg.norm(colours - other, axis=-1) * weights).min(axis=-1)
    return smallest


def _lab_by_vision(rgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """CIELAB coordinates of each colour under the three kinds of vision, shape (N, 3, 3)."""
    scaled = rgb / 255.0
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    views = [linear, *(np.clip(linear @ vision.T, 0.0, 1.0) for vision in (_PROTANOPIA, _DEUTERANOPIA))]
    xyz = np.stack(views, axis=1) @ _SRGB_TO_XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = np.moveaxis(f, -1, 0)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)
