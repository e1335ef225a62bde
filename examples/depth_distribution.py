"""The long tail of a data set: how far away its pixels are, and how often its classes occur.

python examples/depth_distribution.py --help
"""

from __future__ import annotations

import sys

from distribution.app import main

if __name__ == "__main__":
    sys.exit(main())
