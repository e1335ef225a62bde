"""What each component adds: the same network, data and seeds, one more at a time, with significance over seeds.

python examples/ablation.py --help
"""

from __future__ import annotations

import os
import sys

from scripting.entry import run

if __name__ == "__main__":
    # On cores shared with other work, threads that wait by spinning make a step five to ten times longer. OpenMP reads
    # this as torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sys.exit(run("ablation.py", "ablating.app"))
