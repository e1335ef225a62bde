"""The first steps of a script: it may lack a package, and importing PyTorch takes long enough to be interrupted."""

from __future__ import annotations

import importlib
import sys

from scripting.failures import BAD_INPUT, INTERRUPTED, one_line
from scripting.messages import prepare_process, say


def run(program: str, app: str) -> int:
    """Import the module ``app`` and return what its ``main`` does.

    Args:
        program: name of the script, which begins each message.
        app: module with the function ``main``.
    """
    prepare_process()
    try:
        main = importlib.import_module(app).main
    except KeyboardInterrupt:
        say(f"{program}: interrupted before it began")
        return INTERRUPTED
    except (ImportError, OSError) as error:
        say(f"{program}: error: expected the packages of the scripts, got: {one_line(error)}; {_advice(error)}")
        return BAD_INPUT
    try:
        status: int = main(sys.argv[1:])
    except KeyboardInterrupt:
        # In its first or its last moment: what it does between them has words of its own for that.
        say(f"{program}: interrupted")
        return INTERRUPTED
    return status


def _advice(error: ImportError | OSError) -> str:
    if isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] == "depthattn":
        return "pip install . in the folder of the repository"
    return 'pip install ".[nyu,train]" in the folder of the repository'
