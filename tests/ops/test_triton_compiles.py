"""The Triton kernels compile ahead of time for sm_80 and sm_90, in every dtype, without a GPU and without a spill."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import pytest
from tests.ops.kernel_calls import CALLS

pytestmark = pytest.mark.triton


@lru_cache
def compiled(*options: str) -> list[dict[str, Any]]:
    """The kernels of every operation, compiled."""
    # In a process of its own: the interpreter, once chosen, holds for a process.
    environment = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    run = subprocess.run(
        [sys.executable, "-m", "tests.ops.ahead_of_time", *options], env=environment, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    return [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]


# Loads of the forward and the backward kernel, at least: each map at three columns and at five, each corner of four
# levels, two maps and a normaliser and so on. What the compiler dropped as unused would be missing here.
LOADS = {
    "depth_aware": (3, 4),
    "joint_gradient": (6, 10),
    "attention_depth": (9, 17),
    "semantic_focal": (5, 6),
    "semantic_focal_upsample": (9, 20),
    "lateral_sharing": (8, 8),
    "semi_dense_up_skip": (5, 3),
}


def check(operation: str, rows: list[dict[str, Any]], calls: Iterable[str]) -> None:
    rows = [row for row in rows if row["operation"] == operation]
    assert {(row["call"], row["kernel"]) for row in rows} >= {
        (call, kernel) for call in calls for kernel in ("_forward_kernel", "_backward_kernel")
    }
    assert {row["architecture"] for row in rows} == {80, 90}
    assert [row for row in rows if row["local"] > 0] == []
    for kernel, least in zip(("_forward_kernel", "_backward_kernel"), LOADS[operation], strict=True):
        assert min(row["loads"] for row in rows if row["kernel"] == kernel) >= least


@pytest.mark.parametrize("operation", CALLS)
def test_the_common_call_compiles_for_both_architectures_and_does_not_spill(operation: str) -> None:
    check(operation, compiled("--common"), [next(iter(CALLS[operation]))])


@pytest.mark.slow
@pytest.mark.parametrize("operation", CALLS)
def test_every_call_compiles_and_does_not_spill(operation: str) -> None:
    check(operation, compiled(), CALLS[operation])
