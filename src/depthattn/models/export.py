"""SynergyNet as an ONNX file."""

from __future__ import annotations

import os
import tempfile
import warnings
from pathlib import Path

import torch

from depthattn._extras import require
from depthattn.models.network import SynergyNetwork
from depthattn.ops import checks

INPUT, OUTPUTS = "image", ("depth", "semantics")
_NAME = "SynergyNet.export_onnx"
_SMALLEST = 32
# The first whose exporter takes names of dimensions.
_OLDEST_TORCH = "2.7"
# No two sizes alike and none 0 or 1: torch.export takes such a coincidence for a rule.
_EXAMPLE_SIZE = (97, 131)


def write_onnx(model: SynergyNetwork, path: str | os.PathLike[str], size: tuple[int, int] | None) -> None:
    """Write ``model``, ready for inference, to ``path``; see :meth:`SynergyNet.export_onnx`."""
    path = Path(path)
    _check(model, path, size)
    for module in ("onnx", "onnxscript"):
        require(module, extra="onnx", purpose=_NAME)
    if torch.__version__ < _OLDEST_TORCH:
        raise ValueError(f"{_NAME}: expected PyTorch {_OLDEST_TORCH} or newer, got {torch.__version__}")
    # The weights go to the CPU in the plain layout: a file knows neither devices nor layouts.
    model.cpu()
    model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's stubs leave it out
    dimensions: dict[int, object] = {0: "batch"}
    if size is None:
        dimensions |= {2: "height", 3: "width"}
    image = torch.rand(2, 3, *(_EXAMPLE_SIZE if size is None else size))
    try:
        with warnings.catch_warnings():
            # Notes of the exporter to its own developers.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (image,),
                input_names=[INPUT],
                output_names=list(OUTPUTS),
                dynamic_shapes=(dimensions,),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:300]
        hint = "" if size is not None else "; a fixed size=(H, W) asks less of it"
        raise ValueError(
            f"{_NAME}: expected a network that torch.export can trace, got {type(model.encoder).__name__}: "
            f"{reason}{hint}"
        ) from error
    if program is None:
        raise RuntimeError(f"{_NAME}: expected a program from torch.onnx.export, got None")
    for node in program.model.graph.all_nodes():
        # Among them, the folders of this machine.
        node.metadata_props.clear()
    # Written beside its place and moved there, so that nobody finds half a file, and an older one outlives a failure.
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as folder:
        written = Path(folder, path.name)
        program.save(written, external_data=False)
        os.replace(written, path)


def _check(model: SynergyNetwork, path: Path, size: tuple[int, int] | None) -> None:
    if size is not None:
        for name, side in zip(("size[0]", "size[1]"), checks.image_size(_NAME, size), strict=True):
            checks.check_number(_NAME, name, side, at_least=_SMALLEST)
    if model.dtype != torch.float32:
        raise ValueError(f"{_NAME}: expected a model in float32, got {model.dtype}")
    if path.is_dir():
        raise IsADirectoryError(f"{_NAME}: expected a file, got the folder {path}")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{_NAME}: expected {path} in a folder that exists, got no {path.parent}")
