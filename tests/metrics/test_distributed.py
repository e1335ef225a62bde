"""All metrics over two gloo processes with uneven shares: each process gets what one process with all frames gets."""

from __future__ import annotations

from pathlib import Path

import torch
from tests.metrics.two_processes import score_share, scores_of
from torch.multiprocessing import spawn


def test_two_processes_give_what_one_does(tmp_path: Path) -> None:
    spawn(score_share, (str(tmp_path),), nprocs=2)
    expected = scores_of(slice(0, 4))
    assert int(expected["binned"]["pixels"].sum()) > 100
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert list(found) == list(expected)
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
