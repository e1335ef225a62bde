"""train_nyu.py that looks at two frames before it trains, so that damage is met where it lies; for torchrun."""

from __future__ import annotations

import sys

from tests.examples.factory import tiny_network

import training.run
from training import app

if __name__ == "__main__":
    app.build_model = tiny_network
    training.run._STATISTICS_FRAMES = 2
    sys.exit(app.main(sys.argv[1:]))
