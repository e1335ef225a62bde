"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from ablating.measures import MEASURES, Measure
from ablating.results import Scores
from ablating.statistics import Comparison, compare, spread
from ablating.variants import BASELINE, LADDER

START, END = "<!-- ablation.py writes from here -->", "<!-- to here -->"
_SIGNIFICANT = 0.05
# Narrow cells break between a change and its significance, nowhere else.
_GLUE = "\N{NO-BREAK SPACE}"

Outcome = Mapping[str, Sequence[Scores]]
"""The scores of every seed by the key of the variant, in the order of the seeds."""


def markdown(outcome: Outcome, seeds: Sequence[int]) -> str:
    """Three tables: the scores; what each piece changed; what all pieces so far changed."""
    before = {variant.key: LADDER[index - 1].key for index, variant in enumerate(LADDER) if index}
    first = {variant.key: BASELINE.key for variant in LADDER[1:]}
    return "\n\n".join(
        (
            f"Mean and standard deviation over the seeds {', '.join(map(str, seeds))}:",
            _scores(outcome),
            f"Change by each piece, against the column before it (mean over the {len(seeds)} seeds; p of a "
            f"two-sided paired t-test; number of seeds that became better; bold: p < {_SIGNIFICANT:g}; "
            "of percentages in points):",
            _changes(outcome, before),
            "Change by all pieces so far, against the first column of scores:",
            _changes(outcome, first),
        )
    )


def changes(outcome: Outcome, key: str, reference: str, measure: Measure) -> Comparison:
    """How a measure changed from variant ``reference`` to variant ``key``."""
    before, after = ([scores[measure.key] for scores in outcome[name]] for name in (reference, key))
    return compare(before, after)


def write_into(page: Path, text: str) -> None:
    """Put ``text`` between the two marker lines of a Markdown file.

    Raises:
        ValueError: the file does not have both lines, in this order.
        OSError: it cannot be read or written.
    """
    head, start, rest = page.read_text(encoding="utf-8").partition(f"{START}\n")
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{page}: expected the lines '{START}' and '{END}', got a page without them")
    page.write_text(f"{head}{start}\n{text}\n\n{end}{tail}", encoding="utf-8")


def _scores(outcome: Outcome) -> str:
    rows = []
    for measure in MEASURES:
        spreads = (spread([scores[measure.key] for scores in outcome[variant.key]]) for variant in LADDER)
        rows.append(
            [_head(measure), *(f"{measure.text(mean)}{_GLUE}±{_GLUE}{measure.text(sd)}" for mean, sd in spreads)]
        )
    return _table([variant.title for variant in LADDER], rows)


def _changes(outcome: Outcome, references: Mapping[str, str]) -> str:
    rows = []
    for measure in MEASURES:
        found = (changes(outcome, key, reference, measure) for key, reference in references.items())
        rows.append([_head(measure), *(_cell(comparison, measure) for comparison in found)])
    return _table([variant.title for variant in LADDER if variant.key in references], rows)


def _cell(comparison: Comparison, measure: Measure) -> str:
    change = measure.change(comparison.mean)
    if comparison.p < _SIGNIFICANT:
        worse = (comparison.mean > 0) != measure.higher_is_better
        change = f"**{change}**" + f"{_GLUE}worse" * worse
    wins = f"{comparison.wins(measure.higher_is_better)}/{len(comparison.differences)}"
    return f"{change} (p{_GLUE}{_p(comparison.p)},{_GLUE}{wins})"


def _p(p: float) -> str:
    return "-" if p != p else f"<{_GLUE}0.001" if p < 0.001 else f"{p:.3f}"


def _head(measure: Measure) -> str:
    unit = f", {measure.unit}" if measure.unit else ""
    return f"{measure.title}{unit} {'↑' if measure.higher_is_better else '↓'}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [["", *columns], ["---", *["---:"] * len(columns)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
