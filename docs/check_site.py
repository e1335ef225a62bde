"""Check a built site without a network: every link and picture leads to something, and nothing is fetched from outside.

python docs/check_site.py docs/_build/html
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# Of these a browser fetches the target by itself; a link is only followed.
_FETCHED = {
    ("img", "src"),
    ("script", "src"),
    ("link", "href"),
    ("source", "src"),
    ("video", "src"),
    ("iframe", "src"),
}


class _Page(HTMLParser):
    """The anchors of a page, and what it points to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.targets: list[tuple[str, bool]] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("id", "name") and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value:
                self.targets.append((value, (tag, name) in _FETCHED))


def problems(site: Path) -> list[str]:
    """One line for every target that is missing or fetched from elsewhere."""
    pages = {path.resolve(): _Page(path) for path in sorted(site.rglob("*.html"))}
    found = []
    for path, page in pages.items():
        for target, fetched in page.targets:
            where = f"{path.relative_to(site.resolve())}: {target}"
            link = urlsplit(target)
            if link.scheme or link.netloc:
                if fetched and link.scheme != "data":
                    found.append(f"{where}: fetched from outside")
                continue
            file = (path.parent / unquote(link.path)).resolve() if link.path else path
            if not file.is_file():
                found.append(f"{where}: no such file")
            elif (
                link.fragment
                and file in pages
                and unquote(link.fragment) not in pages[file].anchors
            ):
                found.append(f"{where}: no such anchor")
    return found


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0], "index.html").is_file():
        print(
            f"check_site: expected the folder of a built site, got {arguments}",
            file=sys.stderr,
        )
        return 2
    found = problems(Path(arguments[0]))
    print(
        "\n".join(found)
        or "check_site: every link leads somewhere, and nothing is fetched from outside"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
