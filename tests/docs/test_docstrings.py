"""A public docstring says what its reader needs: arguments, what comes back, errors, an example, where it is from."""

from __future__ import annotations

import builtins
import dataclasses
import doctest
import importlib
import inspect
import re
import symtable
from collections.abc import Callable
from typing import Any

import pytest
from tests.public_api import MODULES
from torch import nn

from depthattn import functional, layers, losses

# A section that is not there, and why.
EXEMPT = {
    ("Compose", "Raises"): "only what its transforms raise",
    ("Encoder", "Raises"): "a base class that computes nothing",
    ("seen_from", "Raises"): "arithmetic on whatever NumPy takes for points",
}
# What a call or a metric hands out stands at these methods.
HANDS_OUT = {"forward", "compute"}


def public() -> dict[str, Any]:
    """The functions and classes of the package by the name that a user writes."""
    named = {}
    for module in MODULES:
        package = importlib.import_module(module)
        for name in package.__all__:
            value = getattr(package, name)
            if inspect.isfunction(value) or (inspect.isclass(value) and not issubclass(value, Exception)):
                named[f"{module}.{name}"] = value
    return named


def methods() -> dict[str, Callable[..., Any]]:
    found = {}
    for name, value in public().items():
        if not inspect.isclass(value) or is_record(value):
            continue
        for member, attribute in vars(value).items():
            inner = attribute.__func__ if isinstance(attribute, (classmethod, staticmethod)) else attribute
            if inspect.isfunction(inner) and not member.startswith("_") and member != "extra_repr":
                found[f"{name}.{member}"] = inner
    return found


def is_record(value: type) -> bool:
    """Whether a class only has fields: a named tuple, a dictionary with fixed keys, a dataclass without methods."""
    if dataclasses.is_dataclass(value):
        return not any(callable(member) for name, member in vars(value).items() if not name.startswith("_"))
    return hasattr(value, "_fields") or hasattr(value, "__required_keys__")


def section_of_names(value: Any) -> str:
    """Where a docstring describes what is passed in or, of a tuple or dictionary that is handed out, its fields."""
    return "Attributes" if is_record(value) and not dataclasses.is_dataclass(value) else "Args"


def sections(value: object) -> dict[str, str]:
    """The text of each section of a docstring, and under "" what comes before the first."""
    parts = re.split(r"^([A-Z]\w+):$", inspect.getdoc(value) or "", flags=re.MULTILINE)
    return {"": parts[0], **dict(zip(parts[1::2], parts[2::2], strict=True))}


def parameters(value: Any) -> list[str]:
    """The names of what is passed in, as they are written in a docstring."""
    if section_of_names(value) == "Attributes":
        return list(value.__annotations__)
    if getattr(value, "__init__", None) is nn.Module.__init__:
        return []
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    taken = inspect.signature(value).parameters.values()
    return [f"{stars.get(p.kind, '')}{p.name}" for p in taken if p.name not in ("self", "cls")]


def described(section: str) -> list[str]:
    """The names that a section of arguments or attributes has an entry for."""
    indent = re.match(r"\n*( *)", section)[1]  # type: ignore[index]  # it matches anything
    return re.findall(rf"^{indent}(\*{{0,2}}\w+): ", section.replace("\\*", "*"), re.MULTILINE)


def wanted(name: str, value: Any) -> set[str]:
    """The sections that the docstring has to have."""
    found = {section_of_names(value)} if parameters(value) else set()
    if is_record(value):
        return found
    found |= {"Example", "Raises"}
    if inspect.isfunction(value) and returns_something(value):
        found.add("Returns")
    if inspect.isclass(value) and issubclass(value, nn.Module) and not hasattr(value, "compute"):
        found.add("Shape")
    if has_formula(name):
        found |= {"Gradient", "Source"}
    return {section for section in found if (name.rpartition(".")[2], section) not in EXEMPT}


def returns_something(function: Callable[..., Any]) -> bool:
    return inspect.signature(function).return_annotation not in ("None", "Iterator[None]")


def has_formula(name: str) -> bool:
    """The five operations, the losses and the layers."""
    return name.rpartition(".")[2] in {*functional.__all__, *layers.__all__, *losses.__all__} and not is_record(
        public()[name]
    )


@pytest.mark.parametrize("name", public())
def test_a_docstring_has_its_sections(name: str) -> None:
    value = public()[name]
    assert sorted(wanted(name, value) - set(sections(value))) == []
    if has_formula(name):
        assert ".. math::" in sections(value)[""]


@pytest.mark.parametrize("name", [*public(), *methods()])
def test_every_argument_is_described_and_nothing_else(name: str) -> None:
    value = {**public(), **methods()}[name]
    text = sections(value)
    assert text[""].strip()
    assert described(text.get(section_of_names(value), "")) == parameters(value)


@pytest.mark.parametrize("name", [name for name in methods() if name.rpartition(".")[2] in HANDS_OUT])
def test_what_a_call_hands_out_is_described(name: str) -> None:
    assert sections(methods()[name])["Returns"].strip()


@pytest.mark.parametrize("name", [*public(), *methods()])
def test_nothing_reads_as_something_else_on_the_site(name: str) -> None:
    text = sections({**public(), **methods()}[name])
    # A letter or a number with a point begins a list, and a colon ends the type of what is returned.
    assert re.findall(r"^ *\w+: (?:\w|\d+)\.(?: |$)", "\n".join(text.values()), re.MULTILINE) == []
    assert re.findall(r"^\s*\w[^`\n]*?: ", text.get("Returns", "")) == []


@pytest.mark.parametrize("name", [name for name, value in public().items() if "Example" in sections(value)])
def test_an_example_runs_where_nothing_was_imported_before(name: str) -> None:
    examples = doctest.DocTestParser().get_examples(sections(public()[name])["Example"])
    assert examples
    # The column of the site, less the prompt and the indent of a member.
    assert [line for example in examples for line in example.source.splitlines() if len(line) > 80] == []
    assert undefined_names("".join(example.source for example in examples)) == set()


def undefined_names(source: str) -> set[str]:
    """Names that code uses and neither makes, nor imports, nor finds among Python's own."""
    top = symtable.symtable(source, "example", "exec")
    made = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    used, tables = set(), [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        used |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
    return used - made - set(vars(builtins))


def test_a_name_that_an_example_lacks_is_found() -> None:
    assert undefined_names("import a\nclass B:\n    def f(self, c): return a, c, d, len(g)\nB() + e") == {"d", "e", "g"}
