"""Train SynergyNet with the attention-driven loss, on SyntheticRooms or on NYU Depth v2.

python examples/train_nyu.py --help
"""

from __future__ import annotations

import sys

from training.app import main

if __name__ == "__main__":
    sys.exit(main())
