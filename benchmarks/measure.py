"""How a side is timed and how its peak memory is found."""

from __future__ import annotations

import gc
import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.inputs import Inputs, Tensors

Run = Callable[[Tensors], tuple[Tensor, ...]]

PASSES = ("forward", "backward", "both")
MEMORY_METHOD = {
    "cpu": "every allocation and release of PyTorch's CPU allocator, compiled code included, from the memory events "
    "of torch.profiler; what a kernel takes from malloc by itself is not seen",
    "cuda": "torch.cuda.max_memory_allocated",
}
_BACKWARD = "benchmark::backward"


@dataclass(frozen=True)
class Outcome:
    values: tuple[Tensor, ...]
    gradients: tuple[Tensor, ...]


def differentiate(run: Run, inputs: Inputs) -> Outcome:
    values = run(inputs.tensors)
    return Outcome(values, torch.autograd.grad(values, inputs.leaves, cotangents(values, inputs)))


def cotangents(values: Sequence[Tensor], inputs: Inputs) -> list[Tensor]:
    """The arriving gradients in the dtypes of ``values``: some peers return a loss in half precision."""
    return [g.to(v.dtype) for g, v in zip(inputs.cotangents, values, strict=True)]


def percentile(samples: Sequence[float], percent: float) -> float:
    """Linear interpolation between the closest ranks."""
    ordered = sorted(samples)
    position = (len(ordered) - 1) * percent / 100
    below, above = math.floor(position), math.ceil(position)
    return ordered[below] + (ordered[above] - ordered[below]) * (position - below)


def summary(samples: Sequence[float]) -> dict[str, float]:
    """Median, p20 and p80, in milliseconds, of samples in seconds."""
    return {name: 1e3 * percentile(samples, p) for name, p in (("median", 50), ("p20", 20), ("p80", 80))}


class Stopwatch:
    """Times one forward and backward pass, in seconds: by the clock on a CPU, by events on a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"
        if self.cuda:
            self.flush = torch.empty(4 * cache_bytes(device), dtype=torch.uint8, device=device)
            self.events = [torch.cuda.Event(enable_timing=True) for _ in range(3)]

    def __call__(self, run: Run, inputs: Inputs) -> tuple[float, float]:
        if self.cuda:
            return self._by_events(run, inputs)
        start = time.perf_counter()
        values = run(inputs.tensors)
        middle = time.perf_counter()
        torch.autograd.grad(values, inputs.leaves, cotangents(values, inputs))
        return middle - start, time.perf_counter() - middle

    def _by_events(self, run: Run, inputs: Inputs) -> tuple[float, float]:
        # Besides emptying the cache, this gives the host a head start, so that launches do not wait for Python.
        self.flush.zero_()
        start, middle, end = self.events
        start.record()
        values = run(inputs.tensors)
        middle.record()
        torch.autograd.grad(values, inputs.leaves, cotangents(values, inputs))
        end.record()
        end.synchronize()
        return start.elapsed_time(middle) / 1e3, middle.elapsed_time(end) / 1e3


def cache_bytes(device: torch.device) -> int:
    """Size of the last-level cache; 32 MiB where the system does not tell."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    try:
        text = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text().strip()
        return int(text.removesuffix("K")) * 1024
    except (OSError, ValueError):
        return 32 * 2**20


def rotating(inputs: Inputs, device: torch.device, limit: int) -> list[Inputs]:
    """Copies of the inputs, enough that coming round to one again finds it out of the cache."""
    count = min(limit, 1 + math.ceil(2 * cache_bytes(device) / max(1, inputs.nbytes)))
    return [inputs, *(inputs.copy() for _ in range(count - 1))]


@dataclass(frozen=True)
class Schedule:
    """How long to measure a case: rounds until ``seconds`` have passed, within the limits."""

    warmup: int
    seconds: float
    least: int
    most: int
    input_sets: int


@contextmanager
def no_collections() -> Iterator[None]:
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def interleaved(
    runs: dict[str, Run], inputs: Inputs, device: torch.device, schedule: Schedule, advance: Callable[[float], None]
) -> dict[str, dict[str, list[float]]]:
    """Seconds per side and pass. Each round runs every side once, so that a slow moment of the machine hits all.

    The side that begins moves on from round to round, and no two sides of a round share their inputs.

    Args:
        runs: the sides by name.
        inputs: one set of inputs; copies are made to rotate through.
        device: where the inputs are.
        schedule: warm-up and number of rounds.
        advance: told the fraction of the work done since its last call.
    """
    stopwatch = Stopwatch(device)
    names = list(runs)
    sets = rotating(inputs, device, schedule.input_sets)
    samples: dict[str, dict[str, list[float]]] = {name: {p: [] for p in PASSES} for name in names}
    turn = 0
    with no_collections():
        for _ in range(schedule.warmup):
            began = time.perf_counter()
            for name in names:
                stopwatch(runs[name], sets[turn % len(sets)])
                turn += 1
            round_seconds = time.perf_counter() - began
        rounds = min(schedule.most, max(schedule.least, round(schedule.seconds / round_seconds)))
        for number in range(rounds):
            for place in range(len(names)):
                name = names[(number + place) % len(names)]
                forward, backward = stopwatch(runs[name], sets[turn % len(sets)])
                turn += 1
                for label, seconds in zip(PASSES, (forward, backward, forward + backward), strict=True):
                    samples[name][label].append(seconds)
            advance(1 / rounds)
    return samples


def peak_memory(run: Run, inputs: Inputs, device: torch.device) -> dict[str, int]:
    """Peak bytes beyond the inputs during the forward pass, during the backward pass, and over both."""
    peak = _peak_on_cuda if device.type == "cuda" else _peak_on_cpu
    forward, backward = peak(run, inputs, device)
    return {"forward": forward, "backward": backward, "both": max(forward, backward)}


def _peak_on_cuda(run: Run, inputs: Inputs, device: torch.device) -> tuple[int, int]:
    torch.cuda.synchronize(device)
    base = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    values = run(inputs.tensors)
    forward = torch.cuda.max_memory_allocated(device) - base
    torch.cuda.reset_peak_memory_stats(device)
    torch.autograd.grad(values, inputs.leaves, cotangents(values, inputs))
    return forward, torch.cuda.max_memory_allocated(device) - base


def _peak_on_cpu(run: Run, inputs: Inputs, device: torch.device) -> tuple[int, int]:
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        values = run(inputs.tensors)
        with torch.profiler.record_function(_BACKWARD):
            pass
        gradients = torch.autograd.grad(values, inputs.leaves, cotangents(values, inputs))
    del values, gradients
    return _peaks(_trace_of(profile))


def _trace_of(profile: torch.profiler.profile) -> list[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        profile.export_chrome_trace(path)
        events: list[dict[str, Any]] = json.loads(Path(path).read_text())["traceEvents"]
    return events


def _peaks(events: list[dict[str, Any]]) -> tuple[int, int]:
    """Highest running sum of the bytes taken and given back, before and after the mark between the passes."""
    boundary = min(e["ts"] for e in events if e["name"] == _BACKWARD)
    live = 0
    peaks = [0, 0]
    for event in sorted((e for e in events if e["name"] == "[memory]"), key=lambda e: e["ts"]):
        after = event["ts"] >= boundary
        if after:
            peaks[1] = max(peaks[1], live)
        live += event["args"]["Bytes"]
        peaks[after] = max(peaks[after], live)
    return peaks[0], max(peaks[1], live)


def copy_bandwidth(device: torch.device, nbytes: int, repeats: int = 15) -> float:
    """Bytes per second, read and written, of copying one buffer of ``nbytes`` to another."""
    source = torch.zeros(nbytes // 4, dtype=torch.float32, device=device)
    copy = torch.zeros_like(source)
    seconds = []
    for _ in range(repeats):
        if device.type == "cuda":
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            copy.copy_(source)
            end.record()
            end.synchronize()
            seconds.append(start.elapsed_time(end) / 1e3)
        else:
            began = time.perf_counter()
            copy.copy_(source)
            seconds.append(time.perf_counter() - began)
    return 2 * source.nbytes / percentile(seconds, 50)
