"""Result files: validated on writing, found again by machine."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from depthattn._extras import require

SCHEMA = Path(__file__).with_name("schema.json")
DEFAULT = Path(__file__).with_name("results")

Result = dict[str, Any]


def validate(result: Result) -> None:
    """Raise a ValueError that names the place where ``result`` does not follow schema.json."""
    jsonschema = require("jsonschema", extra="bench", purpose="the benchmark")
    validator = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text()))
    for error in validator.iter_errors(result):
        raise ValueError(f"benchmark result: expected {error.json_path} to follow schema.json, got {error.message}")


def rounded(value: Any) -> Any:
    """The same structure with floats to five digits: more would only be noise."""
    if isinstance(value, dict):
        return {k: rounded(v) for k, v in value.items()}
    if isinstance(value, list):
        return [rounded(v) for v in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.5g}")
    return value


def title_of(result: Result) -> str:
    """What a reader calls it: its GPU, or its processor and threads, and what else ran there."""
    machine, busy = result["machine"], result["busy"]
    gpu = machine["gpu"]
    name = gpu["name"] if gpu else f"{machine['cpu']} with {machine['instructions']}, {machine['threads']} threads"
    return f"{name}, beside {busy} busy processes" if busy else str(name)


def busy_of(result: Result) -> str:
    return f"busy{result['busy']}" if result["busy"] else ""


def path_of(result: Result, folder: Path) -> Path:
    """<folder>/<machine>/<date>.json; runs beside busy processes or that leave something out say so in their name."""
    scope = "quick" if result["quick"] else "" if result["complete"] else "partial"
    name = "-".join(filter(None, (result["date"][:10], busy_of(result), scope)))
    return folder / result["machine"]["slug"] / f"{name}.json"


def write(result: Result, folder: Path) -> Path:
    result = rounded(result)
    validate(result)
    path = path_of(result, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result, indent=1, allow_nan=False) + "\n")
    return path


def newest(folder: Path) -> list[Result]:
    """The newest complete run of every machine, by name of the machine, and its newest beside busy processes."""
    found: list[Result] = []
    for machine in sorted(p for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []:
        runs = [json.loads(path.read_text()) for path in sorted(machine.glob("*.json"))]
        complete = [run for run in runs if run["complete"]]
        for busy in sorted({run["busy"] for run in complete}):
            found.append(max((run for run in complete if run["busy"] == busy), key=lambda run: run["date"]))
            validate(found[-1])
    return found
