"""A figure in two looks: as it is drawn, and for dark pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from depthattn._extras import require

_DARK_PAPER = np.array([0x13, 0x14, 0x16]) / 255
_DARK_INK = np.array([0xCE, 0xD2, 0xD6]) / 255
# Up to this difference of red, green and blue a colour is a grey, and up to this mean a grey is ink.
_GREY, _INK = 0.08, 0.14
_COLOURS = ("color", "edgecolor", "facecolor", "markeredgecolor", "markerfacecolor")


def save_in_both_looks(figure: Any, light: Path, **options: Any) -> None:
    """Save a ``matplotlib.figure.Figure`` as ``light``, and with dark paper as :func:`dark_path` of it.

    In the dark look greys are mirrored, from dark ink on light paper to light ink on dark paper. Colours, pictures and
    what has a colour for each of its points stay. The figure is left in the dark look.

    Args:
        figure: what to save.
        light: the file; its suffix is the format.
        options: of ``Figure.savefig``.
    """
    figure.savefig(light, **options)
    artists = figure.findobj()
    plates = [text.get_bbox_patch() for text in artists if hasattr(text, "get_bbox_patch")]
    # All are read before any is set: the colour of a figure is also that of its patch.
    changes = [change for artist in (*artists, *filter(None, plates)) for change in _mirrored_colours(artist)]
    for set_colour, colour in changes:
        set_colour(colour)
    figure.savefig(dark_path(light), **options)


def dark_path(light: Path) -> Path:
    """Where the dark look of ``light`` is: NAME_dark.png of NAME.png."""
    return light.with_stem(f"{light.stem}_dark")


def _mirrored_colours(artist: Any) -> Iterator[tuple[Callable[[Any], object], tuple[float, ...]]]:
    to_rgba_array = require("matplotlib.colors", extra="train", purpose="depthattn.viz").to_rgba_array
    for name in _COLOURS:
        value = getattr(artist, f"get_{name}", lambda: None)()
        if value is None or (isinstance(value, str) and value in ("auto", "none")):
            continue
        colours = to_rgba_array(value)
        if len(colours) == 1 and np.ptp(colours[0, :3]) <= _GREY:
            yield getattr(artist, f"set_{name}"), tuple(_mirrored(colours[0]))


def _mirrored(colour: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    paper = max(0.0, (colour[:3].mean() - _INK) / (1 - _INK))
    return np.append(_DARK_INK + paper * (_DARK_PAPER - _DARK_INK), colour[3])
