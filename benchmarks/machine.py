"""What a result must say about where it was measured, with nothing that names the host or its folders."""

from __future__ import annotations

import ctypes
import os
import platform
import re
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from benchmarks.measure import cache_bytes

ROOT = Path(__file__).resolve().parent.parent
# How threads are counted and how they wait changes times, most of all on cores that other work shares.
THREADING = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "MKL_NUM_THREADS")
PACKAGES = ("torch", "triton", "numpy", "depthattn", "kornia", "monai", "liger-kernel")


def cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def keep_freed_memory() -> None:
    """Have glibc keep up to 1 GiB of what is freed, for all sides alike; elsewhere nothing happens.

    It gives the end of its heap back to the system, so that by the accident of what lies there every result of a step
    is paid for in page faults, or none: the same step takes 6 ms in one process and 14 in another. In a training other
    tensors lie there. Results above 32 MiB are asked for anew in any case.
    """
    if platform.libc_ver()[0] == "glibc":
        trim_threshold, mmap_threshold = -1, -3
        libc = ctypes.CDLL(None)
        libc.mallopt(trim_threshold, 1 << 30)
        libc.mallopt(mmap_threshold, 1 << 25)


def slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def describe(device: torch.device) -> dict[str, Any]:
    threads = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # One model name covers processors with and without AVX-512, which compute at different speeds.
    instructions = torch.backends.cpu.get_cpu_capability()
    name = f"{cpu_model()} {instructions} {threads} threads"
    gpu = None
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        name = properties.name
        gpu = {
            "name": properties.name,
            "memory_gib": round(properties.total_memory / 2**30, 1),
            "capability": f"{properties.major}.{properties.minor}",
            "cuda": torch.version.cuda,
        }
    return {
        "slug": slug(name),
        "device": device.type,
        "cpu": cpu_model(),
        "instructions": instructions,
        "cores": cores,
        "threads": threads,
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "cache_mib": round(cache_bytes(device) / 2**20, 1),
        "gpu": gpu,
        "environment": {name: os.environ[name] for name in THREADING if name in os.environ},
    }


def versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def commit() -> dict[str, Any]:
    """The commit measured, and whether the code differs from it; null outside a git checkout."""
    head = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--", "src", "benchmarks", ":!benchmarks/results")
    return {"id": head or None, "dirty": None if head is None else bool(changes)}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
