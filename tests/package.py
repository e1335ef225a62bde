"""Build the package and use it as its users do: ``python -m tests.package``.

An sdist with all that its tests need, and a wheel made from it, go into an empty environment with PyTorch and NumPy
alone; there the core has to work, and what needs an extra has to say its name. Every extra has to be installable.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from pathlib import Path

from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]
# A source distribution without its data and pictures of other people's rooms: what is larger is not ours.
_LARGEST_FILE, _LARGEST_SDIST = 1 << 20, 8 << 20
_IN_SDIST = (
    "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "Makefile", "constraints.txt", "setup.py",
    "src/depthattn/py.typed", "src/depthattn/ops/native/abi.h", "src/depthattn/ops/native/module.cpp",
    "src/depthattn/ops/depth_aware/cpu.cpp", "src/depthattn/ops/depth_aware/pixels.h", "tests/conftest.py",
    "tests/ops/test_contract.py", "examples/train_nyu.py", "benchmarks/run.py", "docs/conf.py",
)  # fmt: skip
_IN_WHEEL = (
    "depthattn/__init__.py", "depthattn/py.typed", "depthattn/data/tables/", "depthattn/ops/native/kernels.",
    "depthattn/ops/native/build.json",
)  # fmt: skip

_USE = """
import sys
import torch
import depthattn

assert "cpu        available" in depthattn.show_config()
pred = torch.rand(2, 1, 8, 8, requires_grad=True)
logits = torch.rand(2, 3, 8, 8, requires_grad=True)
labels = torch.randint(3, (2, 8, 8))
loss = depthattn.AttentionDrivenLoss()(pred, logits, torch.rand(2, 1, 8, 8) + 1, labels)
loss.total.backward()
assert pred.grad.abs().sum() > 0 and logits.grad.abs().sum() > 0
depthattn.LateralSharingUnit(2, channels=(3, 3))(torch.ones(1, 3, 4, 4), torch.ones(1, 3, 4, 4))
depthattn.SynergyNet("resnet18", 3, decoder_channels=(8, 8)).eval()(torch.rand(1, 3, 64, 64))
depthattn.data.SyntheticRooms(1, size=(32, 32))[0]

def says(call, extra):
    try:
        call()
    except ImportError as error:
        assert f'pip install ".[{extra}]"' in str(error), error
    else:
        raise AssertionError(f"expected an error that names the extra {extra}")

open("some.mat", "wb").write(b"x")
says(lambda: depthattn.data.NYUDepthV2("some.mat"), "nyu")
says(lambda: depthattn.metrics.DepthMetrics, "train")
says(lambda: depthattn.viz.colour_depth(torch.ones(2, 2)), "train")
net = depthattn.SynergyNet("resnet18", 3, decoder_channels=(8,))
says(lambda: net.save_pretrained("model"), "hub")
says(lambda: net.export_onnx("net.onnx"), "onnx")
assert "site-packages" in depthattn.__file__, depthattn.__file__
print(f"depthattn {depthattn.__version__}, torch {torch.__version__}, Python {sys.version.split()[0]}")
"""


def check_sdist(path: Path) -> None:
    with tarfile.open(path) as archive:
        sizes = {member.name.partition("/")[2]: member.size for member in archive.getmembers() if member.isfile()}
    missing = [name for name in _IN_SDIST if name not in sizes]
    large = [name for name, size in sizes.items() if size > _LARGEST_FILE]
    stray = [
        name
        for name in sizes
        if name.startswith(("shared/", "runs/", "build/", ".")) or "__pycache__" in name or "/kernels." in name
    ]
    if missing or large or stray or path.stat().st_size > _LARGEST_SDIST:
        raise ValueError(f"{path.name}: missing {missing}, too large {large}, not to be there {stray}")


def check_wheel(path: Path) -> list[str]:
    """The extras of the wheel."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        metadata = archive.read(next(name for name in names if name.endswith(".dist-info/METADATA"))).decode()
    if not re.fullmatch(r"depthattn-[\w.]+-py3-none-(?!any)\w+\.whl", path.name):
        raise ValueError(f"expected a wheel of this platform for any Python 3, got {path.name}")
    missing = [wanted for wanted in _IN_WHEEL if not any(name.startswith(wanted) for name in names)]
    stray = [name for name in names if not name.startswith(("depthattn/", "depthattn-"))]
    if missing or stray:
        raise ValueError(f"{path.name}: missing {missing}, not to be there {stray}")
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra ==" not in line]
    names_needed = sorted(line.split()[1].split(">")[0] for line in needed)
    if names_needed != ["numpy", "torch"]:
        raise ValueError(f"{path.name}: expected to need numpy and torch alone, got {needed}")
    return [line.split()[1] for line in metadata.splitlines() if line.startswith("Provides-Extra")]


def main() -> int:
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(what: str, *command: object, cwd: Path = folder) -> str:
            with console.status(what):
                done = subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False)
            if done.returncode:
                raise ValueError(f"{what}: {(done.stdout + done.stderr).strip()[-2000:]}")
            console.print(f"{what}: {(done.stdout.strip().splitlines() or ['done'])[-1]:.100}", markup=False)
            return done.stdout

        try:
            os.environ["DEPTHATTN_BUILD_NATIVE"] = "1"
            run("an sdist, and a wheel from it", sys.executable, "-m", "build", "-o", folder / "dist", ROOT)
            (sdist,), (wheel,) = (list((folder / "dist").glob(f"*{suffix}")) for suffix in (".tar.gz", ".whl"))
            check_sdist(sdist)
            extras = check_wheel(wheel)
            venv.create(folder / "empty", with_pip=True)
            python = folder / "empty" / "bin" / "python"
            pip = (
                python,
                "-m",
                "pip",
                "--disable-pip-version-check",
                "install",
                "--constraint",
                ROOT / "constraints.txt",
            )
            run("torch and numpy", *pip, "--quiet", "--no-compile", "torch", "numpy")
            run("the wheel", *pip, "--no-deps", wheel)
            run("the core, and what asks for an extra", python, "-W", "error", "-c", _USE)
            for extra in extras:
                run(f"what {extra} would install", *pip, "--quiet", "--dry-run", f"{wheel}[{extra}]")
        except ValueError as error:
            console.print(str(error), style="red", markup=False)
            return 1
    console.print("the package is as it should be")
    return 0


if __name__ == "__main__":
    sys.exit(main())
