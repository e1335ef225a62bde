"""Links to the source of members that a class inherits, and of properties.

Of these ``sphinx.ext.viewcode`` does not find the module, or does not find their name in it: ``SynergyNet.encode`` is
``SynergyNetwork.encode`` in another module.
"""

from __future__ import annotations

import importlib

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import ExtensionMetadata


def follow(app: Sphinx | None, module: str, name: str) -> str | None:
    """The module of this package that defines a member of a class; there it is found by ``name`` from now on."""
    owner_name, _, member = name.rpartition(".")
    owner = getattr(importlib.import_module(module), owner_name, None) if owner_name else None
    bases = owner.__mro__ if isinstance(owner, type) else ()
    base = next((base for base in bases if member in vars(base)), None)
    if base is None or not base.__module__.startswith("depthattn."):
        return None
    analyzer = ModuleAnalyzer.for_module(base.__module__)
    analyzer.find_tags()
    defined = analyzer.tags.get(f"{base.__qualname__}.{member}")
    if defined is None:
        return None
    analyzer.tags.setdefault(name, defined)
    return base.__module__


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("viewcode-follow-imported", follow)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
