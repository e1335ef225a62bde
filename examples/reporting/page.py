"""The HTML of the page: everything a reader could have typed is escaped here, and nothing is loaded from elsewhere."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from PIL import Image

_STYLE = Path(__file__).with_name("style.css")


@dataclass(frozen=True)
class Section:
    """One heading and what is below it; ``body`` is HTML, and the rest plain text."""

    name: str
    title: str
    body: str


def page(title: str, sections: Sequence[Section]) -> str:
    """The whole file."""
    links = "".join(f'<a href="#{section.name}">{text(section.title)}</a>' for section in sections)
    body = "".join(
        f'<section id="{section.name}"><h2>{text(section.title)}</h2>{section.body}</section>\n' for section in sections
    )
    style = _STYLE.read_text(encoding="utf-8")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><title>{text(title)}</title>\n<style>{style}</style></head>\n'
        f"<body><header><h1>{text(title)}</h1><nav>{links}</nav></header>\n<main>{body}</main></body></html>\n"
    )


def text(value: object) -> str:
    return escape(str(value), quote=True)


def paragraph(content: str, kind: str = "") -> str:
    """Plain text as a paragraph; ``kind`` is "note" for a section that has nothing to show."""
    return f'<p class="{kind}">{text(content)}</p>' if kind else f"<p>{text(content)}</p>"


def figure(content: str, caption: str) -> str:
    """HTML with a caption of plain text, which says what to look for."""
    return f'<figure class="shown">{content}<figcaption>{_caption(caption)}</figcaption></figure>'


def grid(items: Sequence[str], kind: str) -> str:
    return f'<div class="{kind}">{"".join(items)}</div>'


def facts(rows: Sequence[tuple[str, object]]) -> str:
    """Names and values."""
    return "<dl>" + "".join(f"<dt>{text(name)}</dt><dd>{text(value)}</dd>" for name, value in rows) + "</dl>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int = 1) -> str:
    """Cells are HTML; those from column ``numbers_from`` on are set to the right."""

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=number' if column >= numbers_from else ''}>{cell}</{tag}>"
            for column, cell in enumerate(row)
        )

    head = cells("th", [text(heading) for heading in headings])
    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def picture(uri: str, title: str, frame: int, note: str = "") -> str:
    """An inlined image with its title below, and a note where there is one.

    With its size, as a page whose pictures grow while they are decoded moves away under a link of its menu.
    """
    with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as image:
        width, height = image.size
    small = f"<small>{text(note)}</small>" if note else ""
    return (
        f'<figure class="tile"><img src="{uri}" width="{width}" height="{height}" '
        f'alt="{text(title)} of frame {frame}">'
        f"<figcaption>{_caption(title)}{small}</figcaption></figure>"
    )


def _caption(value: str) -> str:
    """Plain text, with the index of the paper's symbols set as one."""
    return re.sub(r"([αλ])_D", r"\1<sub>D</sub>", text(value))


def folded(summary: str, content: str) -> str:
    return f"<details><summary>{text(summary)}</summary>{content}</details>"
