"""Links to the source of members that a class inherits and of properties, and back.

Of these ``sphinx.ext.viewcode`` does not find the module, or does not find their name in it: ``SynergyNet.encode`` is
``SynergyNetwork.encode`` in another module. It also takes all names of a module for names of one public module, so its
links back miss those of another.
"""

from __future__ import annotations

import importlib
import re
from typing import Any

from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.typing import ExtensionMetadata

_BACK = re.compile(r'(<div class="viewcode-block" id="([^"]+)">\s*<a class="viewcode-back" href="[^"#]*#)([^"]*)')
# Where the reference describes a name.
_anchors: dict[str, str] = {}


def follow(app: Sphinx | None, module: str, name: str) -> str | None:
    """The module of this package that defines a member of a class; there it is found by ``name`` from now on."""
    _anchors[name] = f"{module}.{name}"
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


def link_back(app: Sphinx | None, page: str, template: str, context: dict[str, Any], doctree: object) -> None:
    """Let a page of source link to where its names are described."""
    if page.startswith("_modules/"):
        context["body"] = _BACK.sub(lambda found: found[1] + _anchors.get(found[2], found[3]), context["body"])


def setup(app: Sphinx) -> ExtensionMetadata:
    app.connect("viewcode-follow-imported", follow)
    app.connect("html-page-context", link_back)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
