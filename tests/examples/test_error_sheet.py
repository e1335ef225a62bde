"""The sheet of evaluate_nyu.py: its colours cover the depths and errors of the frames on it, near or far."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("metres", [1.0, 40.0])
def test_the_colours_cover_the_frames(metres: float) -> None:
    from evaluation.pictures import Scored, draw_errors

    target = metres * torch.linspace(0.5, 1.0, 96).view(1, 8, 12)
    counted = torch.ones(1, 8, 12, dtype=torch.bool)
    counted[:, 0] = False  # a wrong pixel there is not seen
    pred = torch.where(counted, target + 0.1 * metres, 1000.0)
    figure = draw_errors([Scored(torch.rand(3, 8, 12), target, pred, counted, 0.1 * metres)] * 2)

    depth, error = (list(axes.get_xlim()) for axes in figure.axes[-2:])
    assert depth == pytest.approx(np.percentile(target.numpy(), [1, 99]).tolist(), rel=1e-3)
    assert error == pytest.approx([-0.2 * metres, 0.2 * metres], rel=1e-3)
    painted = figure.axes[3].images[0].get_array()
    assert (painted[0] == 255).all()
    assert (painted[1:] == painted[1, 0]).all()
