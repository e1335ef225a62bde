"""The public names and their signatures as text.

``python -m tests.public_api > tests/public_api.txt`` accepts a change.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator

MODULES = (
    "depthattn",
    *(f"depthattn.{name}" for name in ("functional", "data", "data.transforms", "metrics", "models", "viz")),
)


def _signature(value: object) -> str:
    try:
        text = str(inspect.signature(value))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return ""
    # The default of a buffer or a function would print its address.
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def _members(name: str, value: object) -> Iterator[str]:
    if inspect.ismodule(value):
        return
    yield name + (_signature(value) if inspect.isclass(value) or inspect.isroutine(value) else "")
    if not inspect.isclass(value):
        return
    for member, attribute in sorted(vars(value).items()):
        if member.startswith("_") or member == "forward":
            continue
        inner = attribute.__func__ if isinstance(attribute, (staticmethod, classmethod)) else attribute
        yield f"{name}.{member}" + (_signature(inner) if inspect.isfunction(inner) else "")


def lines() -> Iterator[str]:
    for module_name in MODULES:
        module = importlib.import_module(module_name)
        for name in sorted(module.__all__):
            yield from _members(f"{module_name}.{name}", getattr(module, name))


if __name__ == "__main__":
    print("\n".join(lines()))
