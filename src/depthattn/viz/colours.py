"""Arrays of depth, labels and attention as RGB pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from depthattn._extras import require
from depthattn.viz.palette import IGNORED_LABEL, label_palette

MISSING_VALUE = (255, 255, 255)
DEPTH_COLOURMAP = "viridis"
# Metres to name beside a colour bar, as far as it reaches.
DEPTH_TICKS = (0.5, 1, 1.5, 2, 3, 4, 5, 7, 10, 15, 20, 40, 80)
ATTENTION_COLOURMAP = "plasma"
# Dark where the error is 0, so that what is bright is wrong and white stays free for missing pixels.
_ERROR_STOPS = ("#a6dcff", "#2f7fc1", "#14161a", "#c4561d", "#ffd08a")

ArrayLike = torch.Tensor | npt.NDArray[Any]


def colour_depth(depth: ArrayLike, *, min_depth: float = 0.5, max_depth: float = 10.0) -> npt.NDArray[np.uint8]:
    """Paint depth: viridis over log depth in a fixed range, so that images compare.

    Args:
        depth: metres, shape (H, W) or (1, H, W).
        min_depth: depth in metres of the darkest colour.
        max_depth: depth in metres of the brightest colour.

    Returns:
        RGB, shape (H, W, 3). A pixel without depth (not finite, or not above 0) is ``MISSING_VALUE``, white, which
        is no colour of the map.

    Raises:
        ValueError: a shape or a range that does not fit.

    Example:
        >>> import numpy as np
        >>> from depthattn.viz import colour_depth
        >>> colour_depth(np.array([[0.5, 10.0, 0.0]]))[0].tolist()
        [[68, 1, 84], [253, 231, 36], [255, 255, 255]]
    """
    values = plane(depth, "colour_depth", "depth")
    valid = np.isfinite(values) & (values > 0)
    return _paint(values, valid, depth_norm(min_depth, max_depth), DEPTH_COLOURMAP)


def colour_attention(attention: ArrayLike, *, top: float = 2.0) -> npt.NDArray[np.uint8]:
    """Paint an attention map: plasma from 0 to ``top``.

    Args:
        attention: weights, shape (H, W) or (1, H, W); NaN where there is none.
        top: the weight of the brightest colour; alpha + lambda reaches 2, each alone 1.

    Returns:
        RGB, shape (H, W, 3); ``MISSING_VALUE`` where the map is not finite.

    Raises:
        ValueError: a shape that does not fit, or ``top`` not above 0.

    Example:
        >>> import numpy as np
        >>> from depthattn.viz import colour_attention
        >>> colour_attention(np.array([[0.0, float("nan")]]))[0].tolist()
        [[12, 7, 134], [255, 255, 255]]
    """
    values = plane(attention, "colour_attention", "attention")
    return _paint(values, np.isfinite(values), attention_norm(top), ATTENTION_COLOURMAP)


def colour_error(error: ArrayLike, *, top: float = 1.0) -> npt.NDArray[np.uint8]:
    """Paint a signed error of depth: blue is too near, orange too far, nearly black is right.

    Args:
        error: prediction minus ground truth in metres, shape (H, W) or (1, H, W); NaN where there is none.
        top: metres of the brightest colours; larger errors look the same.

    Returns:
        RGB, shape (H, W, 3); ``MISSING_VALUE`` where the error is not finite.

    Raises:
        ValueError: a shape that does not fit, or ``top`` not above 0.

    Example:
        >>> import numpy as np
        >>> from depthattn.viz import colour_error
        >>> colour_error(np.array([[-1.0, 0.0, 1.0, float("nan")]]))[0].tolist()
        [[166, 220, 255], [20, 22, 25], [255, 208, 138], [255, 255, 255]]
    """
    values = plane(error, "colour_error", "error")
    return _paint(values, np.isfinite(values), error_norm(top), error_colourmap())


def colour_labels(
    labels: ArrayLike, num_classes: int | None = None, *, ignore_index: int = -100
) -> npt.NDArray[np.uint8]:
    """Paint class labels in the fixed palette of :func:`depthattn.viz.label_palette`.

    Args:
        labels: class indices, shape (H, W).
        num_classes: number of classes; by default as many as the labels need.
        ignore_index: label of the pixels without a class, painted grey (``IGNORED_LABEL``).

    Returns:
        RGB, shape (H, W, 3).

    Raises:
        ValueError: a shape that does not fit, or a label outside ``[0, num_classes)``.

    Example:
        >>> import numpy as np
        >>> from depthattn.viz import colour_labels
        >>> colour_labels(np.array([[-100]]))[0, 0].tolist()
        [128, 128, 128]
    """
    values = plane(labels, "colour_labels", "labels")
    used = values != ignore_index
    lowest, highest = (int(values[used].min()), int(values[used].max())) if used.any() else (0, 0)
    count = highest + 1 if num_classes is None else num_classes
    if lowest < 0 or highest >= count:
        bad = lowest if lowest < 0 else highest
        raise ValueError(f"colour_labels: expected labels from 0 to {count - 1} or {ignore_index}, got {bad}")
    pixels = np.empty((*values.shape, 3), dtype=np.uint8)
    pixels[...] = IGNORED_LABEL
    pixels[used] = label_palette(count)[values[used].astype(np.int64)]
    return pixels


def plane(values: ArrayLike, function: str, argument: str) -> npt.NDArray[Any]:
    """A (H, W) array on the CPU of a (H, W) or (1, H, W) tensor or array."""
    if isinstance(values, torch.Tensor):
        detached = values.detach()
        array = (detached.float() if detached.is_floating_point() else detached).cpu().numpy()
    else:
        array = np.asarray(values)
    if array.ndim == 3 and array.shape[0] == 1:
        array = array[0]
    if array.ndim != 2:
        raise ValueError(f"{function}: expected {argument} of shape (H, W), got {tuple(array.shape)}")
    return array


def depth_norm(min_depth: float, max_depth: float) -> Any:
    """The matplotlib norm of depth, shared by pixels and colour bar."""
    if not 0 < min_depth < max_depth < np.inf:
        raise ValueError(f"colour_depth: expected 0 < min_depth < max_depth, got {min_depth} and {max_depth}")
    return _colors().LogNorm(min_depth, max_depth, clip=True)


def attention_norm(top: float) -> Any:
    """The matplotlib norm of attention, shared by pixels and colour bar."""
    if not 0 < top < np.inf:
        raise ValueError(f"colour_attention: expected top > 0, got {top}")
    return _colors().Normalize(0.0, top, clip=True)


def error_norm(top: float) -> Any:
    """The matplotlib norm of signed errors, shared by pixels and colour bar."""
    if not 0 < top < np.inf:
        raise ValueError(f"colour_error: expected top > 0, got {top}")
    return _colors().Normalize(-top, top, clip=True)


def error_colourmap() -> Any:
    """The matplotlib colour map of signed errors, shared by pixels and colour bar; its middle is the colour of 0."""
    return _colors().LinearSegmentedColormap.from_list("depth error", _ERROR_STOPS, N=255)


def _colors() -> Any:
    return require("matplotlib.colors", extra="train", purpose="depthattn.viz")


def _paint(values: npt.NDArray[Any], valid: npt.NDArray[np.bool_], norm: Any, colourmap: Any) -> npt.NDArray[np.uint8]:
    matplotlib = require("matplotlib", extra="train", purpose="depthattn.viz")
    scaled = np.asarray(norm(np.where(valid, values, norm.vmax)), dtype=np.float64)
    paint = matplotlib.colormaps.get_cmap(colourmap)
    pixels: npt.NDArray[np.uint8] = paint(scaled, bytes=True)[..., :3].copy()
    pixels[~valid] = MISSING_VALUE
    return pixels
