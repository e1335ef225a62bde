"""Scores of a checkpoint, or of the predictions of any model, by a protocol that is printed with them.

python examples/evaluate_nyu.py --help
"""

from __future__ import annotations

import sys

from scripting.entry import run

if __name__ == "__main__":
    sys.exit(run("evaluate_nyu.py", "evaluation.app"))
