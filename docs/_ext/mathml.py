"""Formulas as MathML, in a math font that the site brings: nothing is fetched or run when a page is read."""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path

from docutils import nodes
from fontTools import subset
from math_core import LatexError, LatexToMathML
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.typing import ExtensionMetadata
from sphinx.writers.html5 import HTML5Translator

_CONVERTER = LatexToMathML(annotation=True, fancy_error=False)
_FONT = "formulas.woff"
# Browsers draw single letters from the italic alphabets, which no page holds as characters.
_ITALICS = "ℎ" + "".join(map(chr, (*range(0x1D434, 0x1D468), *range(0x1D6E2, 0x1D71C))))
_STRETCHED = "()[]{}|‖⟨⟩⌊⌋⌈⌉√∑∏∫¯^~→⊤"


def _render(translator: HTML5Translator, node: nodes.math | nodes.math_block, *, block: bool) -> None:
    try:
        formula = _CONVERTER.convert_with_local_state(node.astext(), displaystyle=block)
    except LatexError as error:
        raise ExtensionError(f"{node.source}: {node.astext()!r}: {error}") from error
    translator.builder.app.mathml_characters.update(re.sub(r"<annotation.*?</annotation>|<[^>]*>", "", formula))
    translator.body.append(f'<div class="math-block">{formula}</div>' if block else formula)


def _visit_inline(translator: HTML5Translator, node: nodes.math) -> None:
    _render(translator, node, block=False)
    raise nodes.SkipNode


def _visit_block(translator: HTML5Translator, node: nodes.math_block) -> None:
    _render(translator, node, block=True)
    raise nodes.SkipNode


def _write_font(app: Sphinx, error: Exception | None) -> None:
    if error is not None or app.builder.format != "html":
        return
    options = subset.Options(flavor="woff", layout_features=["*"], hinting=False, name_IDs=["*"])
    source = resources.files("ziamath").joinpath("fonts", "STIXTwoMath-Regular.ttf")
    with resources.as_file(source) as path:
        font = subset.load_font(str(path), options)
    letters = "".join(map(chr, range(0x20, 0x7F))) + _ITALICS + _STRETCHED
    subsetter = subset.Subsetter(options)
    subsetter.populate(text=letters + "".join(app.mathml_characters))
    subsetter.subset(font)
    subset.save_font(font, str(Path(app.outdir, "_static", _FONT)), options)


def setup(app: Sphinx) -> ExtensionMetadata:
    app.mathml_characters = set()
    app.add_html_math_renderer("mathml", (_visit_inline, None), (_visit_block, None))
    app.connect("build-finished", _write_font)
    # Characters are gathered while pages are written, in one process.
    return {"parallel_read_safe": True, "parallel_write_safe": False}
