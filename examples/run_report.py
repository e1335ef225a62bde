"""Write the report of a run of train_nyu.py: one page that needs no network.

python examples/run_report.py runs/train
"""

from __future__ import annotations

import os
import sys

from scripting.entry import run

if __name__ == "__main__":
    # As in train_nyu.py: read by OpenMP as torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run("run_report.py", "reporting.app"))
