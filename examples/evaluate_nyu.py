"""Scores of a checkpoint, or of the predictions of any model, by a protocol that is printed with them.

python examples/evaluate_nyu.py --help
"""

from __future__ import annotations

import sys

from evaluation.app import main

if __name__ == "__main__":
    sys.exit(main())
