"""Break the hand-derived code in many small ways and see that a test notices each: ``python -m tests.mutation``.

Every mutant gets its own process, forked from this one so that PyTorch is imported once, and runs the tests that
concern it in a copy of the tree until the first one fails; the copy builds its C++ kernels anew where the fault is in
them. A test that fails without any fault would hide every survivor, so the same tests run on the unbroken copy first.
Exits with 1 if a mutant survives.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch  # noqa: F401  (imported before the processes fork)
from rich.console import Console
from rich.progress import track
from rich.table import Table
from tests.mutation import depth_losses, gradients, layers, native, semantic_focal
from tests.mutation.mutant import Mutant

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = (*depth_losses.MUTANTS, *gradients.MUTANTS, *semantic_focal.MUTANTS, *layers.MUTANTS, *native.MUTANTS)


def _run_tests(tree: Path, arguments: Sequence[str]) -> None:
    """Exit with pytest's code for the tests of ``tree``, whatever was imported from the original."""
    os.chdir(tree)
    sys.path[:] = [str(tree / "src"), str(tree), *(p for p in sys.path if Path(p or ".").resolve() not in _ORIGINAL)]
    for name in [n for n in sys.modules if n.partition(".")[0] in ("tests", "depthattn")]:
        del sys.modules[name]
    os.environ["PYTHONPATH"] = str(tree / "src")
    sys.dont_write_bytecode = True
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
        os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *arguments])))


_ORIGINAL = (ROOT, ROOT / "src")


def _outcome(tree: Path, arguments: Sequence[str], limit: float) -> str:
    """``passed``, ``failed``, ``timed out``, or what kept the tests from running."""
    process = multiprocessing.get_context("fork").Process(target=_run_tests, args=(tree, arguments))
    process.start()
    process.join(limit)
    if process.is_alive():
        process.kill()
        process.join()
        return "timed out"
    # A crash of the interpreter is noticed, too.
    known = {int(pytest.ExitCode.OK): "passed", int(pytest.ExitCode.TESTS_FAILED): "failed"}
    crashed = process.exitcode is not None and process.exitcode < 0
    return "failed" if crashed else known.get(process.exitcode or 0, f"no tests ran (exit code {process.exitcode})")


def _outcome_of(mutant: Mutant, tree: Path, limit: float) -> str:
    """How the tests end with the fault in place. The build also takes back the fault of the last mutant."""
    try:
        _build(tree)
    except ValueError:
        return "does not compile"
    return _outcome(tree, mutant.tests, limit)


def _copy(target: Path) -> Path:
    built = shutil.ignore_patterns("__pycache__", "*.egg-info", "kernels.*", "build.json")
    for name in ("src", "tests", "pyproject.toml", "setup.py", "README.md", "LICENSE", "MANIFEST.in"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=built)
        else:
            shutil.copy(source, target / name)
    _build(target)
    return target


def _build(tree: Path) -> None:
    """The C++ kernels of ``tree``, as far as they have changed; fast enough where the compiler does little."""
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DEPTHATTN_BUILD_NATIVE": "1", "DEPTHATTN_CXXFLAGS": "-O1"},
    )
    if done.returncode:
        raise ValueError(f"mutation: expected kernels that compile, got {done.stderr.strip()[-2000:]}")


def _check(tree: Path, mutants: Sequence[Mutant], limit: float) -> None:
    """Every mutant must fit its file, and its tests pass before it is put in."""
    for mutant in mutants:
        mutant.broken((tree / mutant.path).read_text())
    files = dict.fromkeys(argument for mutant in mutants for argument in mutant.tests if argument.endswith(".py"))
    for file in track(list(files), "without a fault", transient=True):
        outcome = _outcome(tree, [file], 4 * limit)
        if outcome != "passed":
            raise ValueError(f"mutation: expected tests that pass without a fault, got '{outcome}': {file}")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("only", nargs="*", help="parts of the names of the mutants to try, e.g. depth_aware/triton")
    parser.add_argument("--limit", type=float, default=600, metavar="S", help="seconds for the tests of one mutant")
    parser.add_argument("--list", action="store_true", help="print the names of the mutants and stop")
    options = parser.parse_args(arguments)
    mutants = [m for m in MUTANTS if not options.only or any(part in m.name for part in options.only)]
    if options.list or not mutants:
        print("\n".join(mutant.name for mutant in mutants) or "mutation: no mutant has such a name")
        return int(not mutants)
    console = Console()
    table = Table("mutant", "tests", "seconds")
    survivors = []
    with tempfile.TemporaryDirectory() as folder:
        try:
            tree = _copy(Path(folder))
            _check(tree, mutants, options.limit)
        except ValueError as error:
            console.print(str(error), style="red", markup=False)
            return 2
        for mutant in track(mutants, "mutants", console=console, transient=True):
            path, start = tree / mutant.path, time.perf_counter()
            source = path.read_text()
            path.write_text(mutant.broken(source))
            outcome = _outcome_of(mutant, tree, options.limit)
            path.write_text(source)
            if outcome not in ("failed", "timed out"):
                survivors.append(mutant)
            colour = "red" if mutant in survivors else "green"
            console.print(f"[{colour}]{outcome:9}[/] {mutant.name}", highlight=False)
            table.add_row(mutant.name, f"[{colour}]{outcome}[/]", f"{time.perf_counter() - start:.0f}")
    console.print(table)
    console.print(f"{len(mutants) - len(survivors)} of {len(mutants)} mutants noticed")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
