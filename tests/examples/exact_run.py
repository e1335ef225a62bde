"""train_nyu.py in float64 with a tiny network, so that only real differences between runs show; for torchrun."""

from __future__ import annotations

import sys

import torch
from tests.examples.factory import tiny_network

import reporting
import training.run
from training import app

if __name__ == "__main__":
    torch.set_default_dtype(torch.float64)
    reporting.write_report = training.run.draw_curves = training.run.draw_contact_sheet = lambda *_: None
    app.build_model = tiny_network
    sys.exit(app.main(sys.argv[1:]))
