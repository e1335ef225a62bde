"""Compile the kernels for GPUs that need not be there: ``python -m tests.ops.ahead_of_time [--common]``.

The library's own functions run on tensors without memory, with the launches replaced by compilations, so that
what is compiled is what a user's call would launch. Prints one JSON object per kernel, with its loads from global
memory and with the registers and the bytes of local memory of a thread, where spilled registers go.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import triton
from tests.ops.kernel_calls import CALLS
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from depthattn.ops import triton_utils

ARCHITECTURES = (80, 90)
_TYPES = {
    torch.bool: "i1",
    torch.uint8: "u8",
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
}
_ALIGNED = [["tt.divisibility", 16]]


def _describe(value: Any, path: tuple[int, ...], constants: dict[Any, Any], attributes: dict[Any, Any]) -> Any:
    """The type of an argument as a launch would see it: ones and None are constants, multiples of 16 are marked."""
    if isinstance(value, tuple):
        return tuple(_describe(v, (*path, i), constants, attributes) for i, v in enumerate(value))
    if isinstance(value, Tensor):
        attributes[path] = _ALIGNED
        return "*" + _TYPES[value.dtype]
    if value is None or value == 1:
        constants[path] = value
        return "constexpr"
    if value % 16 == 0:
        attributes[path] = _ALIGNED
    return "i32" if -(2**31) <= value < 2**31 else "i64"


def _source(kernel: Any, arguments: tuple[Any, ...], constants: dict[str, Any]) -> ASTSource:
    names = kernel.arg_names
    values: dict[Any, Any] = {(names.index(name),): value for name, value in constants.items()}
    attributes: dict[Any, Any] = {}
    signature = {
        name: _describe(value, (i,), values, attributes)
        for i, (name, value) in enumerate(zip(names, arguments, strict=False))
    }
    signature |= dict.fromkeys(constants, "constexpr")
    return ASTSource(kernel, signature, constexprs=values, attrs=attributes)


def _resources(cubin: bytes) -> dict[str, int]:
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        report = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        used = {key: int(value) for key, value in re.findall(r"(REG|STACK|LOCAL|SHARED):(\d+)", report)}
    return {"registers": used["REG"], "local": used["STACK"] + used["LOCAL"], "shared": used["SHARED"]}


def compile_call(operation: str, call: Callable[[Any], object], architecture: int) -> Iterator[dict[str, Any]]:
    """The kernels that ``call(module)`` launches, compiled for ``architecture``."""
    kernels = []

    def record(kernel: Any, programs: int, like: Tensor, *arguments: Any, num_warps: int = 4, **constants: Any) -> None:
        kernels.append((kernel, _source(kernel, arguments, constants), num_warps))

    module = importlib.import_module(f"depthattn.ops.{operation}.triton")
    original = triton_utils.launch
    try:
        module.launch = triton_utils.launch = record  # type: ignore[attr-defined]
        call(module)
    finally:
        module.launch = triton_utils.launch = original  # type: ignore[attr-defined]
    for kernel, source, num_warps in kernels:
        options = {"num_warps": num_warps, "enable_fp_fusion": True}
        compiled = triton.compile(source, target=GPUTarget("cuda", architecture, 32), options=options)
        yield {
            "kernel": kernel.__name__,
            "architecture": architecture,
            "loads": compiled.asm["ptx"].count("ld.global"),
        } | _resources(compiled.asm["cubin"])


def main(*, common: bool) -> None:
    """Compile the first call of each operation, the common one, for every architecture, and others for one in turn."""
    for operation, calls in CALLS.items():
        for number, (label, call) in enumerate(calls.items()):
            if number and common:
                break
            for architecture in ARCHITECTURES if number == 0 else ARCHITECTURES[number % 2 :: 2]:
                for row in compile_call(operation, call, architecture):
                    print(json.dumps({"operation": operation, "call": label} | row), flush=True)


if __name__ == "__main__":
    main(common="--common" in sys.argv[1:])
