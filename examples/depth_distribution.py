"""The long tail of a data set: how far away its pixels are, and how often its classes occur.

python examples/depth_distribution.py --help
"""

from __future__ import annotations

import sys

from scripting.entry import run

if __name__ == "__main__":
    sys.exit(run("depth_distribution.py", "distribution.app"))
