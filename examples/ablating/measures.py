"""The scores that are reported, in the order of the table."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Measure:
    """A score and how to write it.

    Args:
        key: of the results.
        title: heading of its column.
        higher_is_better: which way is up.
        scale: written times this.
        unit: of what is written.
        digits: behind the point.
    """

    key: str
    title: str
    higher_is_better: bool
    scale: float = 1.0
    unit: str = ""
    digits: int = 3

    def text(self, value: float) -> str:
        return "-" if value != value else f"{value * self.scale:.{self.digits}f}"

    def change(self, value: float) -> str:
        """A difference, with its sign."""
        return "-" if value != value else f"{value * self.scale:+.{self.digits}f}".replace("-", "−")


MEASURES = (
    Measure("abs_rel", "AbsRel", False),
    Measure("rmse", "RMSE", False, unit="m"),
    Measure("rmse_near_third", "RMSE, near third of pixels", False, unit="m"),
    Measure("rmse_far_third", "RMSE, far third of pixels", False, unit="m"),
    Measure("rmse_far_metres", "RMSE, far third of metres", False, unit="m"),
    Measure("delta1", "delta1", True, 100.0, "%", 1),
    Measure("boundary_f1", "boundary F1", True, 100.0, "%", 1),
    Measure("edge_sharpness", "edge sharpness", True, 100.0, "%", 1),
    Measure("miou", "mIoU", True, 100.0, "%", 1),
    Measure("rare_iou", "rare-class IoU", True, 100.0, "%", 1),
)
