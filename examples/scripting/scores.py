"""Scores and losses as papers write them: name, number and unit."""

from __future__ import annotations

import math

_TITLES = {
    "total": "loss",
    "depth_aware": "depth-aware loss",
    "joint_gradient": "joint gradient loss",
    "semantic_focal": "semantic focal loss",
    "abs_rel": "AbsRel",
    "sq_rel": "SqRel",
    "rmse": "RMSE",
    "rmse_log": "RMSElog",
    "silog": "SILog",
    "mae": "MAE",
    "irmse": "iRMSE",
    "delta05": "delta < 1.25^0.5",
    "delta1": "delta1 (< 1.25)",
    "delta2": "delta2 (< 1.25^2)",
    "delta3": "delta3 (< 1.25^3)",
    "boundary_f1": "boundary F1",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy",
    "miou": "mIoU",
}
_UNITS = {"sq_rel": " m", "rmse": " m", "mae": " m", "irmse": " 1/km"}
_SHARES = ("pixel_accuracy", "mean_accuracy", "miou")


def score_title(name: str) -> str:
    return _TITLES.get(name, name)


def score_text(name: str, value: float) -> str:
    if math.isnan(value):
        return "-"
    share = name.startswith("delta") or name in _SHARES
    return f"{value:.2%}" if share else f"{value:.4f}{_UNITS.get(name, '')}"
