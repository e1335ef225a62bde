"""Figures and pixels as HTML: charts as SVG in the colours of the page, pictures as data URIs, colour bars."""

from __future__ import annotations

import base64
import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import torch
from matplotlib.colors import to_hex
from PIL import Image

from depthattn.viz import colour_depth
from depthattn.viz.axes import GRID_COLOUR, REFERENCE_COLOUR, SERIES_COLOURS
from reporting.page import text

# Inches: about the width of a phone, so that the text of a chart is never shrunk on one.
CHART = (4.0, 3.0)

# Colours that a chart is drawn in, to be replaced by those of the page, light or dark.
_INK = "#010203"
_THEME = {
    _INK: "currentColor",
    REFERENCE_COLOUR: "var(--muted)",
    GRID_COLOUR: "var(--line)",
    **{colour: f"var(--series-{index})" for index, colour in enumerate(SERIES_COLOURS)},
}
_DOTS_PER_INCH = 160
_LARGEST_PICTURE = 256
_STOPS = 24


@contextlib.contextmanager
def page_colours() -> Iterator[None]:
    """Figures made inside have the ink that :func:`inline_svg` replaces."""
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "xtick.labelcolor",
            "ytick.labelcolor", "axes.titlecolor")  # fmt: skip
    with matplotlib.rc_context(dict.fromkeys(inks, _INK)):
        yield


def inline_svg(figure: Any, name: str, alt: str) -> str:
    """A figure as an ``<svg>`` element that follows the colours and the width of the page.

    Args:
        figure: made inside :func:`page_colours`.
        name: begins the ids in it, as those of two figures must not be the same.
        alt: what it shows, for readers who cannot see it.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        # The first layout may change the numbers on the axes, and so the room that they need.
        figure.get_layout_engine().execute(figure)
        figure.savefig(buffer, format="svg", transparent=True, dpi=_DOTS_PER_INCH, metadata=nothing)
    svg = buffer.getvalue().decode("utf-8")
    svg = svg[svg.index("<svg") :]
    view_box = re.search(r'viewBox="[^"]+"', svg)
    body = svg[svg.index(">") + 1 :]
    # A style element inside a page is one of the whole page.
    body = re.sub(r"<defs>\s*<style.*?</style>\s*</defs>", "", body, count=1, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', body))
    body = re.sub(r' id="([^"]+)"', lambda found: f' id="{name}-{found[1]}"' if found[1] in used else "", body)
    body = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", body)
    body = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", body)
    for colour, replacement in _THEME.items():
        body = body.replace(colour.lower(), replacement)
    body = re.sub(r"\s*\n\s*", " ", body)
    return f'<svg class="chart" role="img" aria-label="{text(alt)}" {view_box[0] if view_box else ""}>{body}'


def map_uri(pixels: npt.NDArray[np.uint8]) -> str:
    """Pixels of a colour map (H, W, 3) as a png, with a palette where 256 colours do: nothing is lost."""
    shifts = np.array([16, 8, 0])
    packed = (pixels.astype(np.int64) << shifts).sum(-1)
    colours, index = np.unique(packed, return_inverse=True)
    if len(colours) <= 256:
        image = Image.fromarray(index.reshape(packed.shape).astype(np.uint8))
        image.putpalette((colours[:, None] >> shifts & 255).astype(np.uint8).tobytes())
    else:
        image = Image.fromarray(pixels)
    return _uri(_fitted(image, Image.Resampling.NEAREST), "png", optimize=True)


def photo_uri(image: torch.Tensor) -> str:
    """An RGB image (3, H, W) in [0, 1] as a jpeg."""
    pixels = image.clamp(0, 1).mul(255).round().byte().permute(1, 2, 0).numpy()
    return _uri(_fitted(Image.fromarray(pixels), Image.Resampling.LANCZOS), "jpeg", quality=88)


def _fitted(image: Image.Image, resampling: Image.Resampling) -> Image.Image:
    scale = _LARGEST_PICTURE / max(image.size)
    if scale >= 1:
        return image
    return image.resize((round(image.width * scale), round(image.height * scale)), resampling)


def _uri(image: Image.Image, kind: str, **options: Any) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode('ascii')}"


def colour_bar(norm: Any, colourmap: Any, ticks: Sequence[float], label: str, *, saturates: str = "neither") -> str:
    """A colour map from its low end to its high one, with numbers under it.

    Args:
        norm: from values to [0, 1].
        colourmap: of matplotlib.
        ticks: values to name.
        label: what is shown, with its unit.
        saturates: the ends whose colour whatever lies beyond has too: "both" or "neither".
    """
    colours = matplotlib.colormaps.get_cmap(colourmap)(np.linspace(0, 1, _STOPS))
    gradient = ", ".join(to_hex(colour) for colour in colours)
    beyond = {norm.vmin: "\u2264 ", norm.vmax: "\u2265 "} if saturates == "both" else {}
    numbers = "".join(
        f'<span style="left:{100 * float(norm(tick)):.1f}%">{beyond.get(tick, "")}{tick:g}</span>'
        for tick in ticks
        if norm.vmin <= tick <= norm.vmax
    )
    kind = "ramp saturates" if beyond else "ramp"
    return (
        f'<div class="bar"><div class="{kind}" style="background:linear-gradient(to right, {gradient})"></div>'
        f'<div class="ticks">{numbers}</div><div>{text(label)}</div></div>'
    )


def depth_uri(depth: torch.Tensor, min_depth: float, max_depth: float) -> str:
    return map_uri(colour_depth(depth, min_depth=min_depth, max_depth=max_depth))
