"""What a script says of an error that its user can do something about: one line in place of a traceback."""

from __future__ import annotations

import re

FAILED, BAD_INPUT = 1, 2
# As shells have it: 128 and the number of the signal, SIGINT or SIGPIPE.
INTERRUPTED, OUTPUT_CLOSED = 130, 141

# Of PyTorch's loader when an error in one of its processes is raised again in the main one.
_FROM_WORKER = re.compile(r"Caught (\w+) in .*?\.\nOriginal Traceback", re.DOTALL)
_SHARED_MEMORY = re.compile(r"Bus error|/torch_\S*>?: No space left|out of shared memory|shared memory object")
_WORKER_ENDED = re.compile(r"DataLoader worker \(pid.*\) (?:is killed by signal: ([\w ]+)|exited unexpectedly)")
_NO_MEMORY = re.compile(r"can't allocate memory|not enough memory|out of memory|Unable to allocate", re.IGNORECASE)


def explain(error: BaseException, smaller: str) -> tuple[str, int] | None:
    """A line about ``error`` and the status to exit with; None for a fault of the program, which needs its traceback.

    Args:
        error: what was raised, perhaps first in a process that loads data.
        smaller: what takes less memory in this script, as "a smaller --size".
    """
    text = one_line(error)
    if isinstance(error, (RuntimeError, OSError)) and _SHARED_MEMORY.search(text):
        return f"the shared memory of this machine (/dev/shm) is full; --workers 0 needs none ({text})", FAILED
    if isinstance(error, RuntimeError) and (ended := _WORKER_ENDED.search(text)):
        how = f"was killed ({ended[1].strip()})" if ended[1] else "ended"
        return f"a process that loads data {how}; if memory ran out, fewer --workers or {smaller} take less", FAILED
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and _NO_MEMORY.search(text)):
        return f"out of memory; {smaller} takes less ({_first_sentence(text) or 'MemoryError'})", FAILED
    if isinstance(error, (ValueError, TypeError, ImportError, OSError)):
        return text, BAD_INPUT
    return None


def one_line(error: BaseException) -> str:
    """What an error says, without line breaks; of one that a loader's process met, what it said there."""
    text = str(error).strip()
    caught = _FROM_WORKER.match(text)
    if caught is not None:
        _, found, own = text.rpartition(f"{caught[1]}: ")
        text = own if found else caught[1]
    return " ".join(text.split()) or type(error).__name__


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".")
