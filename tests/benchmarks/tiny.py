"""A result small enough to read, with numbers to look for in the page."""

from __future__ import annotations

from typing import Any


def spread(median: float) -> dict[str, float]:
    return {"median": median, "p20": 0.9 * median, "p80": 1.2 * median}


def row(side: str, kind: str, milliseconds: float, peak: int, **more: Any) -> dict[str, Any]:
    return {
        "side": side,
        "kind": kind,
        "status": "ok",
        "check": {"value_error": 1e-8, "gradient_error": 1e-7, "bound": 1e-5, "passed": True},
        "rounds": 9,
        "time_ms": {
            "forward": spread(milliseconds / 4),
            "backward": spread(milliseconds / 2),
            "both": spread(milliseconds),
        },
        "peak_bytes": {"forward": peak // 2, "backward": peak, "both": peak},
        "bandwidth_fraction": {"forward": 0.1, "backward": 0.2, "both": 0.15},
        **more,
    }


def case(name: str, rows: list[dict[str, Any]], *, size: tuple[int, int] = (480, 640), **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "operation": "depth_aware",
        "title": f"Title of {name}",
        "dtype": "float32",
        "inputs": {"pred": [1, *size], "target": [1, *size]},
        "group": "main",
        "returned_bytes": 2**20,
        "minimal_bytes": {"forward": 1, "backward": 2, "both": 3},
        "rows": rows,
        "targets": [],
        **more,
    }


def result(**more: Any) -> dict[str, Any]:
    main = case(
        "depth_aware",
        [
            row("cpu", "ours", 8.0, 2**20),
            {"side": "triton", "kind": "ours", "status": "absent", "reason": "needs cuda tensors"},
            row("naive", "naive", 32.0, 2**24),
            row("faster thing", "peer", 2.0, 2**20, definition="computes less"),
            {
                "side": "broken thing",
                "kind": "peer",
                "status": "red",
                "reason": "wrong: value off by 1.0e+00, gradient by 2.0e+00",
                "check": {"value_error": 1.0, "gradient_error": None, "bound": 1e-5, "passed": False},
            },
        ],
        targets=[
            {"quantity": "speed", "side": "cpu", "versus": "naive", "wanted": 5, "measured": 4.0, "met": False},
            {"quantity": "memory", "side": "cpu", "versus": "bytes", "wanted": 1.1, "measured": 1.0, "met": True},
            {"quantity": "speed", "side": "triton", "versus": "naive", "wanted": 5, "measured": None, "met": None},
        ],
    )  # fmt: skip
    call = case("call", [row("cpu", "ours", 0.25, 100), row("smooth", "peer", 0.125, 100)], group="small")
    small = case("small", [row("cpu", "ours", 1.0, 10**6)], size=(1000, 1000), group="sizes")
    large = case("large", [row("cpu", "ours", 20.0, 10**7)], size=(2000, 5000), group="sizes")
    return {
        "machine": {
            "slug": "some-cpu-2-threads",
            "device": "cpu",
            "cpu": "Some CPU",
            "instructions": "AVX2",
            "cores": 2,
            "threads": 2,
            "memory_gib": 24.0,
            "cache_mib": 32.0,
            "gpu": None,
            "environment": {"OMP_WAIT_POLICY": "PASSIVE"},
        },
        "load_average": {"before": 0.1, "after": 2.0},
        "versions": {"python": "3.11.7", "torch": "2.13.0", "numpy": "2.4.6", "depthattn": "0.1.0", "kornia": None},
        "commit": {"id": "0123456789abcdef", "dirty": True},
        "date": "2026-11-22T10:00:00Z",
        "command": "python benchmarks/run.py --device cpu",
        "busy": 0,
        "quick": False,
        "complete": True,
        "copy_bandwidth": 21.5e9,
        "memory_method": "counted by hand",
        "cases": [main, call, large, small],
        **more,
    }
