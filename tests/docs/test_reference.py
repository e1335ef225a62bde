"""Every public name has its place in the reference of the site."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"


def listed_names() -> set[str]:
    """The entries of the autosummary lists, and the constants."""
    text = "\n".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    return set(re.findall(r"^ {3}(\w+)$", text, re.MULTILINE)) | set(
        re.findall(r"^\.\. py:data:: (\w+)$", text, re.MULTILINE)
    )


@pytest.mark.parametrize("module", ["", ".functional", ".models", ".data", ".metrics", ".viz"])
def test_every_public_name_is_in_the_reference(module: str) -> None:
    package = importlib.import_module(f"depthattn{module}")
    pages = {"__version__", "data", "functional", "metrics", "models", "transforms", "viz"}
    assert set(package.__all__) - pages - listed_names() == set()


@pytest.mark.parametrize(
    ("module", "name", "defined_in"),
    [
        ("depthattn", "SynergyNet.encode", "depthattn.models.network"),
        ("depthattn", "SynergyNet.dtype", "depthattn.models.network"),
        ("depthattn", "SynergyNet.gates", "depthattn.models.synergynet"),
        ("depthattn.metrics", "DepthMetrics.set_dtype", "depthattn.metrics.base"),
        ("depthattn.data", "Layout.labels", None),  # a field has no source of its own
        ("depthattn", "DepthAwareLoss.state_dict", None),  # of another package
        ("depthattn", "SynergyNet", None),  # viewcode finds it
    ],
)
def test_inherited_members_have_their_source(
    module: str, name: str, defined_in: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(REFERENCE.parent / "_ext"))
    from inherited import follow
    from sphinx.pycode import ModuleAnalyzer

    assert follow(None, module, name) == defined_in
    if defined_in is not None:
        _, first, _ = ModuleAnalyzer.for_module(defined_in).tags[name]
        source = Path(importlib.import_module(defined_in).__file__ or "").read_text("utf-8").splitlines()
        assert any(f"def {name.split('.')[1]}(" in line for line in source[first - 1 : first + 1])


def test_source_links_back_to_the_page_of_each_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sphinx")
    monkeypatch.syspath_prepend(str(REFERENCE.parent / "_ext"))
    from inherited import follow, link_back

    # One module holds names of two public ones.
    for module, name in (("depthattn", "SynergyNet.encode"), ("depthattn.models", "SynergyOutput")):
        follow(None, module, name)
    block = '<div class="viewcode-block" id="{}">\n<a class="viewcode-back" href="../page.html#depthattn.{}">[docs]</a>'
    context = {"body": "".join(block.format(name, name) for name in ("SynergyNet.encode", "SynergyOutput", "unknown"))}
    link_back(None, "_modules/depthattn/models/network", "", context, None)
    assert re.findall(r"#([\w.]+)", context["body"]) == [
        "depthattn.SynergyNet.encode",
        "depthattn.models.SynergyOutput",
        "depthattn.unknown",
    ]
