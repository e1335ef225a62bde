"""Triton's interpreter, without what it does again at every call of a function within a kernel."""

from __future__ import annotations

import inspect
from typing import Any


def patch_once_per_launch() -> None:
    """Let the interpreter put its own functions into triton.language once for each launch.

    It does so again for each device function that a kernel calls, which takes longer than the functions themselves.
    """
    from triton.runtime import interpreter

    launch, patch = interpreter.GridExecutor.__call__, interpreter._patch_lang
    languages: dict[Any, frozenset[str]] = {}
    patched: set[frozenset[str]] = set()

    def launch_anew(self: Any, *arguments: Any, **options: Any) -> None:
        patched.clear()
        launch(self, *arguments, **options)

    def patch_if_new(function: Any) -> Any:
        names = languages.get(function)
        if names is None:
            names = frozenset(m.__name__ for m in function.__globals__.values() if inspect.ismodule(m))
            names = languages[function] = names & {"triton.language", "triton.language.core"}
        if names in patched:
            # Only a launch asks for what it has to undo at its end.
            return None
        patched.add(names)
        return patch(function)

    interpreter.GridExecutor.__call__ = launch_anew
    interpreter._patch_lang = patch_if_new
