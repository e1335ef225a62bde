"""Write docs/benchmarks.md and its charts from the newest complete run of every machine.

python benchmarks/report.py [--results DIR] [--docs DIR]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import chart, reading, results
from benchmarks.machine import ROOT
from benchmarks.targets import pixels

OPENING = """\
# Benchmarks

<!-- Written by benchmarks/report.py from the files under benchmarks/results. Do not edit. -->

The time of a forward and a backward pass, side by side: depthattn, the naive formula, `torch.compile` of it, and the
usual alternative; in brackets, how many times as long as ours. Compare along a row: speeds are compared within a
run only. Rows that we lose are shown like the others.
"""

METHOD = """\
## How it is measured

Each implementation, a *side*, is checked before it is timed: its values and gradients have to agree with the reference
formula in float64 within the bound of its dtype. Else it is not timed. Sides of one case run in turn, on
inputs that rotate through more memory than the cache holds; times are medians, with the 20th and 80th percentile. The C
library keeps freed memory, so page faults do not differ from process to process.

- **cpu**, **triton**: the kernels of depthattn; **reference**: its formula under autograd, which runs where there are
  no kernels.
- **naive**: the paper's formula under autograd with dense masks, as in
  `benchmarks/formulas.py`; for the joint gradient loss every map is convolved by both Sobel kernels.
- **compiled**: `torch.compile` of the formula, for the shapes of the case; the joint gradient loss by slices, which
  compile to more than convolutions do.
- The rest is what else there is on PyPI. A side that computes something else says what, and is checked against that.

MiB is the peak of memory beyond the inputs in each pass; outputs, what forward keeps and returned gradients count.
*Bandwidth* is the bytes that have to be read and written at the least (over both passes of a loss: its inputs once and
its gradient once; for a layer each pass by itself), per second, as a fraction of the measured speed of a large copy.

Measure again with `python benchmarks/run.py`, with `python benchmarks/run.py --busy 2` for a machine on which two
other processes compute, then `python benchmarks/report.py`.
"""


def milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def mebibytes(value: int) -> str:
    return f"{value / 2**20:.0f}" if value >= 100 * 2**20 else f"{value / 2**20:.3g}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, words: int = 1) -> list[str]:
    """A Markdown table: ``words`` columns to the left, the rest to the right."""
    rule = [":--" if i < words else "--:" for i in range(len(header))]
    return ["| " + " | ".join(line) + " |" for line in (header, rule, *rows)]


def overview(result: dict[str, Any]) -> list[str]:
    """Our time in each main case beside that of the naive formula, of torch.compile and of the first peer."""
    rows = []
    for case in result["cases"]:
        first: dict[str, dict[str, Any]] = {}
        for row in case["rows"]:
            if row["status"] == "ok":
                first.setdefault(row["kind"], row)
        if case["group"] != "main" or "ours" not in first:
            continue
        peer = first.get("peer")
        rows.append(
            [
                case["title"],
                *(_beside(first.get(kind), first["ours"]) for kind in ("ours", "naive", "compiled")),
                "" if peer is None else f"{peer['side']}: {_beside(peer, first['ours'])}",
                *(mebibytes(first[kind]["peak_bytes"]["both"]) if kind in first else "" for kind in ("ours", "naive")),
            ]
        )
    if not rows:
        return []
    header = ["ms", "depthattn", "naive", "torch.compile", "alternative", "peak MiB", "naive, MiB"]
    return [f"## {results.title_of(result)}: summary", "", *table(header, rows), ""]


def _beside(row: dict[str, Any] | None, ours: dict[str, Any]) -> str:
    """A time, and how many times as long it is as ours."""
    if row is None:
        return ""
    mine, time = ours["time_ms"]["both"]["median"], row["time_ms"]["both"]["median"]
    return milliseconds(time) if row is ours else f"{milliseconds(time)} ({time / mine:.1f}x)"


def baseline(case: dict[str, Any]) -> dict[str, Any] | None:
    """The row that the column of speed-ups divides by: the first naive side that ran."""
    return next((r for r in case["rows"] if r["kind"] == "naive" and r["status"] == "ok"), None)


def case_table(case: dict[str, Any]) -> list[str]:
    reference = baseline(case)
    rows = []
    for row in case["rows"]:
        if row["status"] != "ok":
            continue
        time, peak = row["time_ms"], row["peak_bytes"]
        both = time["both"]
        speed = "" if reference is None else f"{reference['time_ms']['both']['median'] / both['median']:.2f}x"
        fraction = row.get("bandwidth_fraction")
        rows.append(
            [
                f"**{row['side']}**"
                if row["kind"] == "ours"
                else row["side"] + (" \\*" if "definition" in row else ""),
                milliseconds(time["forward"]["median"]),
                milliseconds(time["backward"]["median"]),
                f"{milliseconds(both['median'])} ({milliseconds(both['p20'])} - {milliseconds(both['p80'])})",
                speed,
                mebibytes(peak["forward"]),
                mebibytes(peak["backward"]),
                "" if fraction is None else f"{100 * fraction['both']:.0f} %",
            ]
        )
    if not rows:
        return ["No side passed its check."]
    versus = "" if reference is None else f"vs {reference['side']}"
    header = [
        "side",
        "forward ms",
        "backward ms",
        "both ms (p20 - p80)",
        versus,
        "peak fwd MiB",
        "peak MiB",
        "bandwidth",
    ]
    return table(header, rows)


def notes(case: dict[str, Any]) -> list[str]:
    lines = [f"- \\* {row['side']}: {row['definition']}." for row in case["rows"] if "definition" in row]
    lines += [f"- {row['side']}: not run, {row['reason']}." for row in case["rows"] if row["status"] == "absent"]
    lines += [
        f"- **{row['side']}: {row['status']}**, {row['reason']}."
        for row in case["rows"]
        if row["status"] in ("red", "error")
    ]
    return lines


def target_line(target: dict[str, Any]) -> list[str]:
    relation = {"speed": ">=", "time": "time <=", "memory": "peak <=", "bandwidth": ">=", "growth": "per pixel <="}
    aim = f"{relation[target['quantity']]} {target['wanted']:g}x {target['versus']}"
    measured = "not measured" if target["measured"] is None else f"{target['measured']:.2f}x"
    verdict = {True: "met", False: "**missed**", None: ""}[target["met"]]
    return [target["side"], aim, measured, verdict]


def targets_table(cases: Sequence[dict[str, Any]]) -> list[str]:
    rows = [[case["name"], *target_line(target)] for case in cases for target in case["targets"]]
    return [*table(["case", "side", "target", "measured", ""], rows, words=3), ""] if rows else []


def case_section(case: dict[str, Any]) -> list[str]:
    dtype = "" if case["dtype"] == "float32" else f", {case['dtype']}"
    lines = [f"### {case['title']}{dtype}", "", *case_table(case), ""]
    if case["targets"]:
        lines += [*table(["side", "target", "measured", ""], [target_line(t) for t in case["targets"]], words=2), ""]
    remarks = notes(case)
    return [*lines, *remarks, ""] if remarks else lines


def small_section(cases: Sequence[dict[str, Any]]) -> list[str]:
    """Microseconds of a call on a few pixels."""
    rows = []
    for case in cases:
        times = {row["side"]: row for row in case["rows"] if row["status"] == "ok"}
        for side, row in times.items():
            both = row["time_ms"]["both"]
            rows.append([case["name"], side, *(f"{1e3 * both[key]:.0f}" for key in ("median", "p20", "p80"))])
    return [*table(["case", "side", "microseconds", "p20", "p80"], rows, words=2), "", *targets_table(cases)]


def series_section(cases: Sequence[dict[str, Any]]) -> list[str]:
    """Nanoseconds per pixel over image sizes; a constant column is a linear cost."""
    lines = []
    for operation in dict.fromkeys(case["operation"] for case in cases):
        members = sorted((c for c in cases if c["operation"] == operation), key=pixels)
        sides = [row["side"] for row in members[0]["rows"] if row["status"] == "ok"]
        rows = []
        for case in members:
            times = {r["side"]: r["time_ms"]["both"]["median"] for r in case["rows"] if r["status"] == "ok"}
            peaks = {r["side"]: r["peak_bytes"]["both"] / pixels(case) for r in case["rows"] if r["status"] == "ok"}
            cells = [f"{1e6 * times[s] / pixels(case):.2f}" if s in times else "" for s in sides]
            cells += [f"{peaks[s]:.1f}" if s in peaks else "" for s in sides]
            rows.append([f"{pixels(case) / 1e6:.1f}", *cells])
        header = ["megapixels", *(f"{s} ns/pixel" for s in sides), *(f"{s} peak bytes/pixel" for s in sides)]
        lines += [f"`{operation}_loss`, forward + backward:", "", *table(header, rows, words=0), ""]
    return lines + targets_table(cases)


def machine_section(result: dict[str, Any], charts: Sequence[str]) -> list[str]:
    host, code = result["machine"], result["commit"]
    where = results.title_of(result)
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items() if version)
    dirty = " with uncommitted changes" if code["dirty"] else ""
    load = result["load_average"]
    settings = [f"{name}={value}" for name, value in host.get("environment", {}).items()]
    facts = [
        f"## {where}",
        "",
        f"- Machine: {host['cpu']} with {host['instructions']}, {host['cores']} cores, {host['threads']} threads, "
        f"{host['memory_gib']:g} GiB, {host['cache_mib']:g} MiB last-level cache"
        + (
            f"; {host['gpu']['name']}, {host['gpu']['memory_gib']:g} GiB, CUDA {host['gpu']['cuda']}"
            if host["gpu"]
            else ""
        ),
        f"- Copy bandwidth: {result['copy_bandwidth'] / 1e9:.1f} GB/s, read and written",
        f"- Load average: {load['before']:.1f} before, {load['after']:.1f} after",
        f"- Versions: {versions}",
        f"- Commit: {code['id']}{dirty}" if code["id"] else "- Commit: none",
        f"- Measured on {result['date'][:10]} with `{' '.join([*settings, result['command']])}`",
        f"- Memory: {result['memory_method']}",
        "",
    ]
    facts += [line for name in charts for line in (f"![{chart.text_of(name, where)}]({name})", "")]
    grouped = {
        group: [case for case in result["cases"] if case["group"] == group] for group in ("main", "small", "sizes")
    }
    for case in grouped["main"]:
        facts += case_section(case)
    if grouped["small"]:
        facts += ["### Calls on a few pixels", "", *small_section(grouped["small"])]
    if grouped["sizes"]:
        facts += ["### Cost over image sizes", "", *series_section(grouped["sizes"])]
    return facts


def summary_section(found: Sequence[dict[str, Any]]) -> list[str]:
    """How many targets are met, and which are not."""
    lines = []
    for result in found:
        judged = [(case, t) for case in result["cases"] for t in case["targets"] if t["met"] is not None]
        missed = [(case, t) for case, t in judged if not t["met"]]
        if not judged:
            continue
        lines += [f"{results.title_of(result)}: {len(judged) - len(missed)} of {len(judged)} targets met.", ""]
        rows = [[c["name"], *target_line(t)[:3]] for c, t in missed]
        lines += [*table(["missed in", "side", "target", "measured"], rows, words=3), ""] if rows else []
    return ["## Targets", "", *lines] if lines else []


def render(
    found: Sequence[dict[str, Any]], charts: dict[str, list[str]], readings: Sequence[dict[str, Any]] = ()
) -> str:
    """The page, from validated results, the names of each machine's charts, and what read_frames.py measured."""
    lines = [OPENING]
    if not found:
        lines += ["No complete run has been recorded yet.", ""]
    for result in found:
        lines += overview(result)
    lines += [METHOD]
    for result in found:
        lines += machine_section(result, charts.get(results.title_of(result), []))
    lines += reading.section(readings)
    lines += summary_section(found)
    return "\n".join(lines).rstrip() + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks/report.py", description="Render the page and charts of results.")
    parser.add_argument("--results", type=Path, default=results.DEFAULT, metavar="DIR")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", metavar="DIR")
    options = parser.parse_args(arguments)
    try:
        found = results.newest(options.results)
        options.docs.mkdir(parents=True, exist_ok=True)
        charts = {results.title_of(result): chart.draw(result, options.docs) for result in found}
        page = options.docs / "benchmarks.md"
        page.write_text(render(found, charts, reading.newest(options.results)))
    except (ImportError, OSError, ValueError) as error:
        print(f"benchmarks/report.py: {error}", file=sys.stderr)
        return 2
    print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
