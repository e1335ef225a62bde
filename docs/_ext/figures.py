"""The figures of the site: one look, saved once for light pages and once for dark ones.

A picture ``NAME.png`` with a ``NAME_dark.png`` beside it is replaced by that on dark pages. The command

    python docs/_ext/figures.py SCRIPT.py NAME.png

writes both of the figure that a script draws.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot as plt
from docutils import nodes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.typing import ExtensionMetadata
from sphinx_gallery.utils import scale_image

from depthattn.viz.looks import dark_path, save_in_both_looks

_PAPER, _INK, _GRID = "#ffffff", "#1f2328", "#d8dce0"
_STYLE = {
    "figure.figsize": (5.6, 3.6),
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "figure.facecolor": _PAPER,
    "axes.facecolor": "none",
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "axes.titlecolor": _INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.labelsize": 10.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "grid.linewidth": 0.6,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "legend.frameon": False,
    "lines.linewidth": 2.0,
    "image.interpolation": "nearest",
    # Of Okabe and Ito, those that stand out from white and from black, and as many again as eight lines need.
    "axes.prop_cycle": mpl.cycler(
        color=["#0b84c6", "#d9680f", "#0a9f78", "#c46aa4", "#b8860b", "#7a6ff0", "#d2203c", "#7f868d"]
    ),
}
_PIXELS_PER_INCH = 200


def reset(gallery_conf: dict[str, Any] | None = None, name: str = "") -> None:
    """Give an example, or a page, the look of the site before it runs; the arguments are the gallery's."""
    mpl.rcdefaults()
    mpl.rcParams.update(_STYLE)


def scrape(block: Any, block_vars: dict[str, Any], gallery_conf: dict[str, Any]) -> str:
    """Save the open figures and return the images' reStructuredText."""
    lines = []
    for number, path in zip(plt.get_fignums(), block_vars["image_path_iterator"], strict=False):
        text = save(plt.figure(number), Path(path), Path(block_vars["src_file"]).name)
        place = Path(path).relative_to(gallery_conf["src_dir"]).as_posix()
        lines += [f".. image:: /{place}", f"   :alt: {text}", "   :class: figure", ""]
    plt.close("all")
    return "\n".join(lines)


def save(figure: Figure, light: Path, source: str) -> str:
    """Save a figure of ``source`` as ``light`` and, for dark pages, beside it.

    Returns:
        The figure's label, which says what is seen on it to who cannot see it.
    """
    text: str = figure.get_label()
    if not text:
        raise ValueError(f"{source}: expected a figure with set_label(...), what is seen on it, got none")
    save_in_both_looks(figure, light, dpi=_PIXELS_PER_INCH, bbox_inches="tight")
    return text


def twins(app: Sphinx, doctree: nodes.document) -> None:
    """Give each picture that has a dark one its twin; the gallery's thumbnails get theirs from the figure."""
    for image in list(doctree.findall(nodes.image)):
        name, place = app.env.relfn2path(image["uri"])
        light, dark = Path(place), dark_path(Path(place))
        if light.parent.name == "thumb":
            figure = light.parents[1] / f"{light.stem.removesuffix('_thumb')}_001_dark.png"
            scale_image(figure, dark, *app.config.sphinx_gallery_conf["thumbnail_size"])
        if dark.is_file():
            twin = image.deepcopy()
            twin["uri"] = f"/{dark_path(Path(name)).as_posix()}"
            twin["classes"].append("only-dark")
            image["classes"].append("only-light")
            image.parent.insert(image.parent.index(image) + 1, twin)


def setup(app: Sphinx) -> ExtensionMetadata:
    # Before Sphinx collects the images of the page.
    app.connect("doctree-read", twins, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def main(script: str, picture: str) -> None:
    """Run an example and save its first figure."""
    reset()
    mpl.use("agg")
    runpy.run_path(script)
    print(save(plt.figure(plt.get_fignums()[0]), Path(picture), script))


if __name__ == "__main__":
    main(*sys.argv[1:])
