"""Every operation once, on maps of several chunks; as a program, in all the ways that other people's programs call it.

    python -m tests.ops.every_kernel RESULTS

writes values and gradients to the file RESULTS and prints, in JSON, what its process looks like afterwards.
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import depthattn
from depthattn import functional as F
from depthattn.ops import native

SIZE = (2, 160, 240)
CLASSES = 7
Results = dict[str, list[Tensor]]


def calls(dtype: torch.dtype) -> dict[str, tuple[Callable[..., Any], list[Tensor]]]:
    """By name: an operation, and what it is differentiated by."""
    random = torch.Generator().manual_seed(0)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=random, dtype=torch.float32).to(dtype)

    batch, height, width = SIZE
    pred, target = 9 * uniform(*SIZE) + 0.3, 9 * uniform(*SIZE) + 0.5
    target[:, :20] = 0
    labels = torch.randint(CLASSES, (batch, height // 16, width // 16), generator=random)
    labels = labels.repeat_interleave(16, 1).repeat_interleave(16, 2)
    labels[:, :, :30] = -100
    logits, low = 4 * uniform(batch, CLASSES, height, width), 4 * uniform(batch, CLASSES, height // 4, width // 4)
    features = [uniform(batch, 8, 40, 60) - 0.4 for _ in range(2)]
    pyramid = [uniform(batch, 4, 10 * 2**level, 15 * 2**level) - 0.4 for level in range(4)]
    focal = depthattn.SemanticFocalLoss()
    both = depthattn.AttentionDrivenLoss()
    size = tuple(pyramid[-1].shape[2:])
    return {
        "depth_aware": (lambda p: F.depth_aware_loss(p, target), [pred]),
        "joint_gradient with labels": (lambda p: F.joint_gradient_loss(p, target, labels=labels), [pred]),
        "joint_gradient with a map": (lambda p: F.joint_gradient_loss(p, target, semantics=target + 1), [pred]),
        "attention_driven": (lambda p, z: both(p, z, target, labels).total, [pred, logits]),
        "semantic_focal": (lambda z: focal(z, labels), [logits]),
        "semantic_focal_upsample": (lambda z: F.semantic_focal_loss(z, labels, upsample="bilinear"), [low]),
        "lateral_sharing": (lambda a, b, g: F.lateral_sharing([a, b], g), [*features, uniform(2, 2)]),
        "semi_dense_up_skip": (lambda *levels: F.semi_dense_up_skip(list(levels), size), pyramid),
    }


def run(dtype: torch.dtype = torch.float32) -> Results:
    """Values and gradients of each."""
    results = {}
    for name, (operation, leaves) in calls(dtype).items():
        inputs = [leaf.detach().clone().requires_grad_() for leaf in leaves]
        outputs = operation(*inputs)
        outputs = [outputs] if isinstance(outputs, Tensor) else list(outputs)
        # No sum over the outputs: the order of PyTorch's own depends on the number of threads.
        arriving = [torch.linspace(1, 2, y.numel(), dtype=y.dtype).view(y.shape) for y in outputs]
        results[name] = [*(y.detach() for y in outputs), *torch.autograd.grad(outputs, inputs, arriving)]
    return results


class InAWorker(Dataset[Results]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> Results:
        return run()


def unequal(first: Results, second: Results) -> list[str]:
    """The names whose results are not the same bits."""
    return [name for name in first if not all(map(torch.equal, first[name], second[name]))]


def differences() -> dict[str, list[str]]:
    """What differs from one thread: on two, on two Python threads at once, and in a forked worker."""
    torch.set_num_threads(1)
    alone = run()
    torch.set_num_threads(2)
    found = {"two threads": unequal(alone, run())}
    with ThreadPoolExecutor(2) as pool:
        together = [future.result() for future in [pool.submit(run) for _ in range(2)]]
    found["two Python threads"] = [name for results in together for name in unequal(alone, results)]
    loader = DataLoader(InAWorker(), batch_size=None, num_workers=1, multiprocessing_context="fork")
    (forked,) = loader
    found["a forked worker"] = unequal(alone, forked)
    # As on PyTorch before 2.10.
    torch_cpu = ctypes.CDLL(str(native.torch_library()))
    native.library().handle.depthattn_use_openmp(*(getattr(torch_cpu, name) for name in native.OPENMP))
    found["its OpenMP"] = unequal(alone, run())
    return found


def openmp_runtimes() -> list[str]:
    maps = Path("/proc/self/maps").read_text()
    return sorted({Path(path).name for path in re.findall(r"\S*/lib(?:gomp|omp|iomp)\S*", maps)})


def main() -> None:
    before = openmp_runtimes()
    torch.save(run(), sys.argv[1])
    report = {
        "instruction set": native.library().instruction_set,
        "differences": differences(),
        "OpenMP": [before, openmp_runtimes()],
        "denormals": 5e-324 * 1.0 > 0 and float(torch.tensor([1e-40]) * 1) > 0,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
