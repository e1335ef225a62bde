"""The results of read_frames.py: where they lie, and their section of the page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

# In a folder of its own: the page of the operations takes every file beside it for a run of run.py.
FOLDER = "reading"

METHOD = """\
## Reading frames

Frames of NYU Depth v2 per second, 480x640 with image, depth and labels, read in random order. h5py leaves them as they
are stored; `NYUDepthV2` gives upright float tensors. The ways to read take turns, times are medians, and the loader's
processes run before the first round. Processes beyond the free cores gain nothing. Without the official file, frames
of SyntheticRooms are read, chunked and deflated as there. Measure again with `python benchmarks/read_frames.py`.
"""


def newest(folder: Path) -> list[dict[str, Any]]:
    """The newest result of every machine, by its name."""
    machines = sorted(folder.glob(f"*/{FOLDER}")) if folder.is_dir() else []
    return [json.loads(max(machine.glob("*.json")).read_text()) for machine in machines]


def section(found: Sequence[dict[str, Any]]) -> list[str]:
    """Lines of the page; none without a result."""
    lines = [METHOD] if found else []
    for result in found:
        rates, listed, host = result["frames_per_second"], result["list"], result["machine"]
        lines += [
            f"{host['cpu']} with {host['instructions']}, {host['cores']} cores, load average "
            f"{result['load_average']:.1f} before; {result['frames']} frames, {result['date'][:10]}:",
            "",
            "| way to read | frames/s | of h5py |",
            "| :-- | --: | --: |",
            *(f"| {name} | {rate:.1f} | {rate / rates['h5py']:.2f}x |" for name, rate in rates.items()),
            "",
            f"A list of {listed['lines']:,} lines opens in {listed['seconds']:.2f} s; a look at each of its files "
            f"takes {listed['seconds_of_checks']:.2f} s.",
            "",
        ]
    return lines
