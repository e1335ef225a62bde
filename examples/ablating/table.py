"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ablating.measures import MEASURES, Measure
from ablating.statistics import CONFIDENCE, spread
from ablating.study import SIGNIFICANT, Finding, Study
from ablating.variants import Family
from depthattn._messages import reason_of
from training.checkpoint import write_text

START, END = "<!-- ablation.py writes from here -->", "<!-- to here -->"
# Narrow cells break between a change and its interval, nowhere else.
_GLUE = "\N{NO-BREAK SPACE}"


def markdown(study: Study) -> str:
    """A table of changes for each family, with what could have been seen, and a table of all scores."""
    trials = ", ".join(f"{count} variants of seed {seed}" for seed, count in study.trials().items())
    explained = (
        f"Mean change over the seeds ({trials}), with its {CONFIDENCE:.0%} confidence interval; of percentages in "
        f"points. The error of a change is estimated from all variants of its table. **Bold**: p < {SIGNIFICANT:g} "
        f"after Holm's correction for all {study.tests} tests here. An arrow says which way a score gets better."
    )
    return "\n\n".join(
        (
            explained,
            *(part for family in study.families for part in (f"### {family.title}", _changes(study, family))),
            "### All scores",
            f"Mean and standard deviation over the seeds. Below them, the smallest change that has an 80 % chance of "
            f"being bold in the first table, if it is the only one ({study.freedom(MEASURES[0])} degrees of freedom):",
            _scores(study),
        )
    )


def write_into(page: Path, text: str) -> None:
    """Put ``text`` between the two marker lines of a Markdown file.

    Raises:
        ValueError: as :func:`around_tables`.
    """
    head, tail = around_tables(page)
    # A page that is a link stays one.
    write_text(page.resolve(), f"{head}{START}\n\n{text}\n\n{END}{tail}")


def around_tables(page: Path) -> tuple[str, str]:
    """What stands before and behind the two marker lines of a Markdown file.

    Raises:
        ValueError: the file cannot be read and written, or does not have both lines, in this order.
    """
    try:
        with page.open("r+", encoding="utf-8") as file:
            head, start, rest = file.read().partition(f"{START}\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{page}: expected a Markdown file to write to, got: {reason_of(error)}") from error
    _, end, tail = rest.partition(END)
    if not start or not end:
        raise ValueError(f"{page}: expected the lines '{START}' and '{END}', got a page without them")
    return head, tail


def _changes(study: Study, family: Family) -> str:
    rows = [
        [_head(measure), *(_cell(study.finding(pair, measure), measure) for pair in family.comparisons)]
        for measure in MEASURES
    ]
    return _table(["", *(pair.title for pair in family.comparisons)], rows)


def _cell(finding: Finding, measure: Measure) -> str:
    found = finding.difference
    if found.mean != found.mean:
        return "-"
    mean, low, high = (measure.change(value) for value in (found.mean, found.low, found.high))
    return f"{f'**{mean}**' if finding.is_clear else mean} [{low},{_GLUE}{high}]"


def _scores(study: Study) -> str:
    rows = [
        [variant.title, *(_spread(study.scores(variant, measure), measure) for measure in MEASURES)]
        for variant in study.variants
    ]
    rows.append(["*seen with 80 % power*", *(measure.text(study.detectable(measure)) for measure in MEASURES)])
    return _table(["", *map(_head, MEASURES)], rows)


def _spread(values: Sequence[float], measure: Measure) -> str:
    mean, deviation = spread(values)
    if mean != mean or deviation != deviation:
        return measure.text(mean)
    return f"{measure.text(mean)}{_GLUE}±{_GLUE}{measure.text(deviation)}"


def _head(measure: Measure) -> str:
    unit = f", {measure.unit}" if measure.unit else ""
    return f"{measure.title}{unit} {'↑' if measure.higher_is_better else '↓'}"


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---", *["---:"] * (len(columns) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
