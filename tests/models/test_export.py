"""torch.export and ONNX: programs that run without this library and give what the network gives."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import onnxscript
import pytest
import torch
from tests.models.networks import Stem
from torch import Tensor, nn
from torch.export import Dim, export

from depthattn import SynergyNet
from depthattn.models import EfficientNetLite
from depthattn.models import export as export_module
from depthattn.models.resnet import ResNet

any_size = pytest.mark.skipif(torch.__version__ < (2, 7), reason="PyTorch 2.6 keeps sizes")
writes_onnx = pytest.mark.skipif(torch.__version__ < (2, 7), reason="PyTorch 2.6 is refused")
SIZES = [(2, 64, 96), (1, 65, 97), (3, 33, 64), (1, 100, 36)]


def short_efficientnet() -> EfficientNetLite:
    """The blocks down to stride 8: every kind of convolution and of padding, in a tenth of the time."""
    encoder = EfficientNetLite("efficientnet_lite0")
    del encoder.blocks[4:]
    encoder.channels, encoder.reductions = encoder.channels[:3], encoder.reductions[:3]
    encoder._ends = frozenset((0, 2, 3))
    return encoder


def short_resnet() -> ResNet:
    """One block for each stride."""
    encoder = ResNet("resnet18")
    for name in ("layer1", "layer2", "layer3", "layer4"):
        setattr(encoder, name, getattr(encoder, name)[:1])
    return encoder


def network(encoder: nn.Module, sharing: str = "scalar", *, encoder_skips: bool = False) -> SynergyNet:
    torch.manual_seed(0)
    model = SynergyNet(encoder, 5, decoder_channels=(16, 8), sharing=sharing, encoder_skips=encoder_skips).eval()
    for unit in model.sharing_units:
        for row in unit.weight:
            row.data.uniform_(-0.5, 0.5)
    return model


def check_equal(ours: Any, model: SynergyNet, image: Tensor) -> None:
    with torch.no_grad():
        expected = model(image)
    for name, mine, theirs in zip(expected._fields, ours, expected, strict=True):
        assert mine.shape == theirs.shape
        assert np.abs(np.asarray(mine) - theirs.numpy()).max() <= 1e-5 * float(theirs.abs().max()), name


@pytest.mark.skipif(torch.__version__ < (2, 7), reason="PyTorch 2.6 cannot tell that it exports, and keeps them")
@pytest.mark.parametrize("sharing", ["scalar", "channel"])
def test_exported_program_has_no_operator_of_this_library(sharing: str) -> None:
    model = network(Stem(), sharing)
    image = torch.rand(1, 3, 65, 97)
    program = export(model, (image,))
    targets = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert "aten.conv_transpose2d.input" in targets
    assert [target for target in targets if "depthattn" in target or "autocast" in target] == []
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    with torch.no_grad():
        for form in (program, torch.export.load(file)):
            check_equal(form.module()(image), model, image)


@any_size
@pytest.mark.parametrize("encoder_skips", [False, True])
def test_exported_at_one_size_runs_at_any(encoder_skips: bool) -> None:
    model = network(Stem(), encoder_skips=encoder_skips)
    free = {0: Dim("batch"), 2: Dim("height", min=33), 3: Dim("width", min=33)}
    program = export(model, (torch.rand(2, 3, 65, 97),), dynamic_shapes=(free,)).module()
    for batch, height, width in SIZES:
        image = torch.rand(batch, 3, height, width)
        with torch.no_grad():
            check_equal(program(image), model, image)


@writes_onnx
@pytest.mark.parametrize("encoder", [short_resnet(), pytest.param(short_efficientnet(), marks=pytest.mark.slow)])
def test_onnx_of_any_size(encoder: nn.Module, tmp_path: Path) -> None:
    model = network(encoder)
    # 32 is a size where the encoder's last map has one pixel, which tracers like to take for a constant.
    check_file(model, tmp_path, None, [*SIZES, (1, 32, 32)])


@writes_onnx
def test_onnx_of_one_size(tmp_path: Path) -> None:
    path = check_file(network(Stem(), "channel", encoder_skips=True), tmp_path, (65, 97), [(1, 65, 97), (3, 65, 97)])
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert session.get_inputs()[0].shape == ["batch", 3, 65, 97]
    assert [output.shape for output in session.get_outputs()] == [["batch", 1, 65, 97], ["batch", 5, 65, 97]]


def check_file(
    model: SynergyNet, folder: Path, size: tuple[int, int] | None, images: list[tuple[int, int, int]]
) -> Path:
    path = folder / "net.onnx"
    path.write_text("an older file")
    model.train()
    model.export_onnx(path, size=size)
    assert model.training
    model.eval()
    assert [entry.name for entry in folder.iterdir()] == ["net.onnx"]
    program = onnx.load(path)
    onnx.checker.check_model(program, full_check=True)
    assert {entry.domain for entry in program.opset_import} == {""}
    assert "BatchNormalization" not in {node.op_type for node in program.graph.node}
    # Neither the folders nor the lines of the machine that wrote it.
    assert str(Path(export_module.__file__).parent).encode() not in path.read_bytes()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [output.name for output in session.get_outputs()] == ["depth", "semantics"]
    for batch, height, width in images:
        image = torch.rand(batch, 3, height, width)
        check_equal(session.run(None, {"image": image.numpy()}), model, image)
    return path


@writes_onnx
def test_a_failure_while_writing_leaves_the_older_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Program:
        model = onnxscript.ir.Model(onnxscript.ir.Graph((), (), nodes=()), ir_version=10)

        def save(self, destination: Path, **_: object) -> None:
            destination.write_text("half")
            raise OSError(28, "No space left on device")

    path = tmp_path / "net.onnx"
    path.write_text("an older file")
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Program())
    with pytest.raises(OSError, match="No space left"):
        network(Stem()).export_onnx(path, size=(32, 32))
    assert [entry.name for entry in tmp_path.iterdir()] == ["net.onnx"]
    assert path.read_text() == "an older file"


def test_too_old_a_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "_OLDEST_TORCH", "99.1")
    with pytest.raises(ValueError, match=r"SynergyNet.export_onnx: expected PyTorch 99.1 or newer, got \d"):
        network(Stem()).export_onnx(tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(ImportError, match=r'SynergyNet.export_onnx needs onnxscript: pip install "\.\[onnx\]"'):
        network(Stem()).export_onnx(tmp_path / "net.onnx")
    assert list(tmp_path.iterdir()) == []


class Deciding(Stem):
    def forward(self, x: Tensor) -> list[Tensor]:
        return super().forward(x if bool(x.sum() > 0) else -x)


@pytest.mark.parametrize(
    ("model", "name", "size", "error", "reason"),
    [
        (network(Stem()), "net.onnx", (31, 64), ValueError, r"expected a finite size\[0\] >= 32, got 31"),
        (network(Stem()), "net.onnx", (64.0, 64), TypeError, r"expected size \(H, W\) as two ints"),
        (network(Stem()), "net.onnx", 64, ValueError, r"expected size as \(H, W\), got 64"),
        (network(Stem()).double(), "net.onnx", None, ValueError, "expected a model in float32, got torch.float64"),
        (
            network(Stem()),
            "absent/net.onnx",
            None,
            FileNotFoundError,
            "expected .* in a folder that exists, got no .*absent",
        ),
        (network(Stem()), "", None, IsADirectoryError, "expected a file, got the folder"),
        pytest.param(
            network(Deciding()),
            "net.onnx",
            (32, 32),
            ValueError,
            "expected a network that torch.export can trace, got Mod",
            marks=writes_onnx,
        ),
    ],
)
def test_what_does_not_fit(
    model: SynergyNet, name: str, size: Any, error: type[Exception], reason: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=f"SynergyNet.export_onnx: {reason}"):
        model.export_onnx(tmp_path / name, size=size)
    assert list(tmp_path.iterdir()) == []
