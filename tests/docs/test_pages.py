"""The Python on the pages runs, top to bottom, as a reader would paste it."""

from __future__ import annotations

import doctest
import importlib.util
import random
import re
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout
from decimal import Decimal
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# What an extra brings; whatever else is missing is a mistake on the page.
OPTIONAL = {
    "accelerate", "h5py", "huggingface_hub", "kornia", "lightning", "matplotlib", "monai", "onnx", "onnxruntime",
    "onnxscript", "PIL", "rich", "safetensors", "scipy", "tensorboard", "timm", "torchmetrics", "torchvision",
    "transformers", "yaml",
}  # fmt: skip
_FENCE = re.compile(r"(?P<indent> *)(?P<fence>`{3,}|~{3,}|:{3,}) *(?P<directive>\{[\w-]+\})? *(?P<word>\w*)")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?")
_LANGUAGES = {"python": "python", "py": "python", "python3": "python", "pycon": "pycon"}


class Block(NamedTuple):
    language: str
    code: str
    line: int  # of its first line of code, from 1
    prints: str | None  # a block of text right behind it: what the page says that it prints


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of Python, and of Python sessions, also those inside of notes and the like."""
    return list(_blocks(page.read_text(encoding="utf-8").splitlines(), 1))


def _blocks(lines: list[str], first: int) -> Iterator[Block]:
    position = 0
    while position < len(lines):
        opened = _FENCE.match(lines[position])
        position += 1
        if opened is None:
            continue
        start = position
        while position < len(lines) and lines[position].strip() != opened["fence"]:
            position += 1
        inside = [line[len(opened["indent"]) :] for line in lines[start:position]]
        position += 1
        if opened["directive"] not in (None, "{code}", "{code-block}"):
            yield from _blocks(inside, first + start)
        elif opened["word"] in _LANGUAGES:
            code = "".join(f"{line}\n" for line in inside)
            yield Block(_LANGUAGES[opened["word"]], code, first + start, _text_at(lines[position:]))


def _text_at(lines: list[str]) -> str | None:
    text = "\n".join(lines).lstrip("\n").partition("```text\n")
    return None if text[0] or not text[1] else text[2].partition("```")[0]


PAGES = [
    page for page in sorted([ROOT / "README.md", *DOCS.rglob("*.md")]) if "_build" not in page.parts and blocks(page)
]


def run(page: Path) -> None:
    """Run the blocks of a page in one namespace; skip the rest of it where an optional package is missing."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        try:
            if block.language == "pycon":
                _run_session(page, block, namespace)
            else:
                # Empty lines before the code make its line numbers those of the page.
                code = compile("\n" * (block.line - 1) + block.code, str(page), "exec")
                with redirect_stdout(StringIO()) as printed:
                    exec(code, namespace)
                if block.prints is not None and not _alike(block.prints, printed.getvalue()):
                    raise AssertionError(f"the page says\n{block.prints}and it prints\n{printed.getvalue()}")
        except Exception as error:
            where = f"{page}:{_line(error, page, block)}"
            if isinstance(error, doctest.UnexpectedException):
                error = error.exc_info[1]
            missing = _missing_package(error)
            if missing is not None:
                pytest.skip(f"{where} needs {missing}")
            if isinstance(error, doctest.DocTestFailure):
                error = AssertionError(f"expected {error.example.want}, got {error.got}")
            pytest.fail(f"{where}: {type(error).__name__}: {error}", pytrace=False)


def _alike(wanted: str, got: str) -> bool:
    """The same words, and numbers within one unit of the last digit that the page shows."""
    if _NUMBER.sub("#", wanted).split() != _NUMBER.sub("#", got).split():
        return False
    pairs = zip(map(Decimal, _NUMBER.findall(wanted)), map(Decimal, _NUMBER.findall(got)), strict=True)
    return all(abs(a - b) <= Decimal(1).scaleb(a.as_tuple().exponent) for a, b in pairs)


def _run_session(page: Path, block: Block, namespace: dict[str, Any]) -> None:
    session = doctest.DocTestParser().get_doctest(block.code, namespace, page.name, str(page), block.line - 1)
    doctest.DebugRunner(verbose=False, optionflags=doctest.ELLIPSIS).run(session, clear_globs=False)
    namespace.update(session.globs)


def _missing_package(error: Exception) -> str | None:
    cause = error if isinstance(error, ModuleNotFoundError) else error.__cause__
    package = (cause.name or "").partition(".")[0] if isinstance(cause, ModuleNotFoundError) else ""
    return package if package in OPTIONAL and importlib.util.find_spec(package) is None else None


def _line(error: Exception, page: Path, block: Block) -> int:
    if isinstance(error, SyntaxError) and error.filename == str(page):
        return error.lineno or block.line
    if isinstance(error, (doctest.DocTestFailure, doctest.UnexpectedException)):
        return block.line + error.example.lineno
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(page)]
    return (frames[-1].lineno or block.line) if frames else block.line


@pytest.fixture(autouse=True)
def _as_in_a_fresh_session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    if "matplotlib" in sys.modules:
        sys.modules["matplotlib"].use("Agg")
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_of_a_page_runs(page: Path) -> None:
    if page.name == "export.md" and torch.__version__ < (2, 7):
        pytest.skip("PyTorch 2.6 exports less, as the page says")
    run(page)


def test_the_pages_with_code_are_found() -> None:
    assert {ROOT / "README.md", DOCS / "index.md", DOCS / "guide" / "export.md"} <= set(PAGES)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("```python\nx = 1\n```\ntext\n```python\ny = x\nassert y == 2\n```\n", "page.md:7: AssertionError"),
        ("```text\nno python\n```\n  ```python\n  1 +\n  ```\n", "page.md:5: SyntaxError"),
        ("```pycon\n>>> 1\n1\n>>> 2\n3\n```\n", "page.md:4: AssertionError: expected 3"),
        ("```{code-block} python\nimport no_such_package\n```\n", "page.md:2: ModuleNotFoundError"),
        ("```pycon\n>>> 1 / 0\n```\n", "page.md:2: ZeroDivisionError"),
        (":::{note}\n```python\n\n1 / 0\n```\n:::\n", "page.md:4: ZeroDivisionError"),
        ("```python\nimport tests.no_such_module\n```\n", "page.md:2: ModuleNotFoundError"),
        (
            "```python\nprint(f'{2 / 3:.2f} m')\n```\n\n```text\n0.69 m\n```\n",
            "page.md:2: AssertionError: the page says",
        ),
        ("```python\nprint('3e-03 s')\n```\n```text\n3e-03 m\n```\n", "page.md:2: AssertionError: the page says"),
    ],
)
def test_a_block_that_fails_is_named_by_page_and_line(tmp_path: Path, code: str, says: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(code)
    with pytest.raises(pytest.fail.Exception, match=re.escape(says)):
        run(page)


def test_what_a_block_prints_may_differ_in_the_last_digit_shown(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint('3.2e-03', 0.68, -12, 'm')\n```\n\n```text\n3.3e-03  0.67 -13 m\n```\n")
    run(page)


@pytest.mark.parametrize(
    "code", ["import kornia", "raise ImportError('needs kornia') from ModuleNotFoundError(name='kornia')"]
)
def test_only_a_missing_optional_package_skips(tmp_path: Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kornia", None)
    page = tmp_path / "page.md"
    page.write_text(f"```python\n{code}\n```\n")
    with pytest.raises(pytest.skip.Exception, match=r"page\.md:2 needs kornia"):
        run(page)
