"""The contact sheet of the demo in a light and a dark look, from its run: python docs/images/demo.py runs/demo."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1] / "examples"))

from depthattn.viz.looks import save_in_both_looks  # noqa: E402
from reporting.app import best_weights  # noqa: E402
from reporting.record import read_record  # noqa: E402
from training.report import sheet_of  # noqa: E402
from training.sources import open_source  # noqa: E402

run = Path(sys.argv[1])
settings = read_record(run).settings
source = open_source(settings)
figure = sheet_of(best_weights(run), source.validation, source.class_names, settings)
save_in_both_looks(figure, HERE / "demo.png")
