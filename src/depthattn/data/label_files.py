"""Label files as class ids."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from depthattn.data.codes import read_label_codes
from depthattn.data.errors import DataError
from depthattn.data.sample import IGNORE_INDEX


@dataclass(frozen=True)
class LabelCoding:
    """How the numbers of label files are read.

    Args:
        num_classes: number of classes.
        ignore_value: number of unlabelled pixels.
        first_label: number of class 0.

    Example:
        >>> from depthattn.data import LabelCoding
        >>> LabelCoding(40, ignore_value=0, first_label=1)  # 1..40, and 0: no label
        LabelCoding(num_classes=40, ignore_value=0, first_label=1)
    """

    num_classes: int
    ignore_value: int = 255
    first_label: int = 0


def given_labels(
    usual: LabelCoding | None, num_classes: int | None, ignore_value: int | None, first_label: int | None
) -> LabelCoding | None:
    """What is given, and of the rest what is ``usual`` for a layout; None where nothing says how many classes."""
    number = num_classes or (usual.num_classes if usual else None)
    if number is None:
        return None
    usual = usual or LabelCoding(number)
    return LabelCoding(
        number,
        usual.ignore_value if ignore_value is None else ignore_value,
        usual.first_label if first_label is None else first_label,
    )


def check_labels(coding: LabelCoding | None, function: str) -> None:
    """Raise ValueError, in the name of ``function``, for an option out of range."""
    if coding is not None and coding.num_classes < 1:
        raise ValueError(f"{function}: expected num_classes >= 1, got {coding.num_classes}")


def read_labels(path: Path, coding: LabelCoding) -> npt.NDArray[np.int64]:
    """Class ids (H,W), -100 where there is no label.

    Raises:
        DataError: the file does not read, or a number is that of no class.
    """
    codes = read_label_codes(path)
    labels = codes - coding.first_label
    ignored = codes == coding.ignore_value
    outside = ~ignored & ((labels < 0) | (labels >= coding.num_classes))
    if outside.any():
        last = coding.first_label + coding.num_classes - 1
        raise DataError(
            f"RGBDList: {path}: expected labels in {coding.first_label}..{last} or {coding.ignore_value} (ignored), "
            f"got {codes[outside][0]}"
        )
    labels[ignored] = IGNORE_INDEX
    return labels
