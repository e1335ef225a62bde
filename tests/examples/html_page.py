"""A page of HTML as tests look at it."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path

VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Text and tags by section; fails on a tag that is not closed, and on an id that is there twice."""

    def __init__(self, path: Path) -> None:
        super().__init__(convert_charrefs=True)
        self.source = path.read_text(encoding="utf-8")
        self.open: list[str] = []
        self.tags: dict[str, list[str]] = {}
        self.texts: dict[str, list[str]] = {}
        self.links: list[str] = []
        self.ids: list[str] = []
        self.rows: dict[str, list[list[str]]] = {}
        self.section = ""
        self.feed(self.source)
        self.close()
        assert self.open == []
        assert len(set(self.ids)) == len(self.ids)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "section":
            self.section = values["id"] or ""
        self.tags.setdefault(self.section, []).append(tag)
        self.ids += [values["id"]] if values.get("id") else []
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "srcset")]
        if tag == "tr":
            self.rows.setdefault(self.section, []).append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag
        if tag == "section":
            self.section = ""

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.section, []).append(data)
        if {"td", "th"} & set(self.open):
            self.rows[self.section][-1][-1] += data

    def text(self, section: str) -> str:
        return " ".join(" ".join(self.texts[section]).split())
