"""Shared set-up: kernels run under Triton's interpreter where there is no CUDA device."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch
from hypothesis import settings
from tests import interpreter

# A few hundred examples of each operation, the same ones in every run; make fuzz searches for long.
settings.register_profile("quick", max_examples=25, deadline=None, derandomize=True, database=None)
settings.register_profile("fuzz", max_examples=10_000, deadline=None, print_blob=True)
settings.load_profile("quick")

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--flush-denormal", action="store_true", help="run under torch.set_flush_denormal(True)")


@pytest.fixture(autouse=True)
def _flush_denormal(request: pytest.FixtureRequest) -> Iterator[None]:
    flush = request.config.getoption("--flush-denormal")
    if flush:
        torch.set_flush_denormal(True)
    yield
    if flush:
        torch.set_flush_denormal(False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Read when it is imported: whether Triton interprets.
    from depthattn.ops import backend

    if backend.obstacle_of("triton") is None and not torch.cuda.is_available():
        interpreter.patch_once_per_launch()
    lacking = {
        "cuda": None if torch.cuda.is_available() else "no CUDA device",
        "native": backend.obstacle_of("cpu"),
        "triton": backend.obstacle_of("triton"),
    }
    for item in items:
        for marker, reason in lacking.items():
            if reason is not None and item.get_closest_marker(marker):
                item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def poisoned_memory() -> Iterator[None]:
    """Fill whatever torch.empty returns with NaN, so that an element nobody wrote shows."""
    fills = torch.utils.deterministic.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = True
    yield
    torch.utils.deterministic.fill_uninitialized_memory = fills
    torch.use_deterministic_algorithms(False)
