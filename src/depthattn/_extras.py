"""Imports of optional packages, with an error that says which extra brings them."""

from __future__ import annotations

import importlib
from typing import Any


def require(module: str, *, extra: str, purpose: str) -> Any:
    """Import ``module``, or raise an ImportError that names the extra to install.

    Args:
        module: dotted name of the module to import.
        extra: the extra of depthattn that installs it.
        purpose: what needs it; the first words of the error.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != top:
            raise
        # The package is on no index, so its name would install nothing.
        raise ImportError(f'{purpose} needs {top}: pip install ".[{extra}]" in the folder of the repository') from error
