"""Pages that fit their column, words that the search finds, and messages in the terms of the field."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [page for page in sorted(DOCS.rglob("*.md")) if "_build" not in page.parts]
# As many characters as the column of the site has room for.
COLUMN = 88


def code_lines(page: Path) -> list[str]:
    """The lines inside of fences that show code or output, not those of directives."""
    lines, fence = [], None
    for line in page.read_text(encoding="utf-8").splitlines():
        opened = re.match(r" *(`{3,})(\{?)", line)
        if opened:
            fence = None if fence else opened
        elif fence and not fence[2]:
            lines.append(line)
    return lines


@pytest.mark.parametrize("page", [page for page in PAGES if page.parent != DOCS], ids=lambda page: page.stem)
def test_code_is_no_wider_than_its_column(page: Path) -> None:
    assert [line for line in code_lines(page) if len(line) > COLUMN] == []


def test_programs_on_pages_are_no_wider_than_their_column() -> None:
    programs = {path for page in PAGES for path in re.findall(r"literalinclude\} (\S+\.py)", page.read_text("utf-8"))}
    assert programs
    lines = [line for path in programs for line in (DOCS / "recipes" / path).read_text("utf-8").splitlines()]
    assert [line for line in lines if len(line) > COLUMN] == []


@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("plot_*.py")), ids=lambda script: script.stem)
def test_code_of_the_gallery_is_no_wider_than_its_column(script: Path) -> None:
    # What stands in the docstring and in comments is set as prose.
    code = script.read_text("utf-8").partition('"""\n\n')[2]
    assert code
    assert [line for line in code.splitlines() if len(line) > COLUMN and not line.startswith("#")] == []


@pytest.mark.parametrize("words", ["AMP", "Citation", "DDP", "Glossary", "LSU", "Multi-GPU", "Quick start", "SUC"])
def test_the_search_finds(words: str) -> None:
    headings = "\n".join(
        heading for page in PAGES for heading in re.findall(r"^#+ .*", page.read_text("utf-8"), re.MULTILINE)
    )
    terms = (DOCS / "explanation" / "glossary.md").read_text("utf-8").splitlines()
    assert re.search(rf"\b{words}\b", headings) or words in terms


@pytest.mark.parametrize("folder", ["src", "examples", "benchmarks"])
def test_messages_say_what_was_expected(folder: str) -> None:
    texts = [
        node.value
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    assert texts
    assert [text for text in texts if re.search(r"\bwanted\b.*\bgot\b", text)] == []


def test_the_plain_implementation_has_one_name() -> None:
    texts = [*PAGES, *(ROOT / "benchmarks").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.json")]
    assert [path.name for path in texts if "textbook" in path.read_text("utf-8")] == []


def test_the_address_of_the_repository_stands_in_one_place() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    address = settings["project"]["urls"]["Repository"]
    files = [*PAGES, *ROOT.glob("*.md"), ROOT / "CITATION.cff", *(ROOT / "src").rglob("*.py")]
    assert [file for file in files if address in file.read_text("utf-8")] == []
    assert [page.stem for page in PAGES if "REPOSITORY" in page.read_text("utf-8")]
