"""All metrics over two gloo processes with uneven shares: each process gets what one process with all frames gets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.metrics.oracle import boundary_f1, per_image, pooled
from tests.metrics.two_processes import frames, score_share, scores_of
from torch.multiprocessing import start_processes


@pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning")
def test_two_processes_give_what_one_does(tmp_path: Path) -> None:
    start_processes(score_share, (str(tmp_path),), nprocs=2, start_method="fork")
    expected = scores_of(slice(0, 4))
    assert int(expected["binned"]["pixels"].sum()) > 100
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert list(found) == list(expected)
        # Integers add up: not a bit differs.
        torch.testing.assert_close(found, expected, rtol=0, atol=0, equal_nan=True)
    pred, depth = (x.numpy() for x in frames()[:2])
    for name, oracle in (("pixels", pooled), ("images", per_image)):
        for score, value in oracle(pred, depth).items():
            assert float(expected[name][score]) == pytest.approx(value, rel=2e-6), score
    f1 = np.mean([boundary_f1(p, g) for p, g in zip(pred[:3], depth[:3], strict=True)])
    assert float(expected["boundaries"]) == pytest.approx(f1, rel=1e-6)
