"""Damage every kind of file in many ways and see what reading it does: ``python -m tests.files``.

Exits with 1 if anything but the file's content or an error of our own came of it; the seed that is printed with a
failure repeats it: ``python -m tests.files --kind "depth png" --first SEED --count 1``.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from rich.progress import track
from rich.table import Table
from tests.files.judge import VERDICTS, outcomes
from tests.files.kinds import KINDS


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.files", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="damaged sets of each kind (10000)")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="the first seed (0)")
    parser.add_argument("--kind", metavar="WORDS", help="only kinds whose name has these words in it")
    options = parser.parse_args(arguments)
    console = Console()
    table = Table("kind of file", "tried", *VERDICTS)
    for column in table.columns[1:]:
        column.justify = "right"
    total: Counter[str] = Counter()
    kinds = [kind for kind in KINDS if (options.kind or "") in kind.name]
    seeds = range(options.first, options.first + options.count)
    for kind in kinds:
        counts: Counter[str] = Counter()
        seen: set[str] = set()
        attempts = outcomes(kind, seeds)
        for outcome in track(attempts, kind.name, total=len(seeds), console=console, transient=True):
            counts[outcome.verdict] += 1
            # One line for what fails in the same way.
            cause = outcome.reason.partition(": ")[0]
            if outcome.verdict == "failed" and cause not in seen:
                seen.add(cause)
                console.print(f"{kind.name}, seed {outcome.seed}: {outcome.reason}", style="red", markup=False)
        table.add_row(kind.name, *_numbers(counts))
        total += counts
    table.add_section()
    table.add_row("all", *_numbers(total))
    console.print(table)
    return int(total["failed"] > 0 or not kinds)


def _numbers(counts: Counter[str]) -> list[str]:
    return [str(number) for number in (counts.total(), *(counts[verdict] for verdict in VERDICTS))]


if __name__ == "__main__":
    sys.exit(main())
