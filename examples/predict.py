"""Depth and labels of photos, from a checkpoint of train_nyu.py.

python examples/predict.py --help
"""

from __future__ import annotations

import sys

from scripting.entry import run

if __name__ == "__main__":
    sys.exit(run("predict.py", "prediction.app"))
