"""Predictions, their truth and their scores by NumPy, for the tests of evaluate_nyu.py."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

Evaluate = Callable[..., int]
TEST = [1, 3, 4]  # zero-based


def data(folder: Path) -> list[object]:
    return ["--nyu", folder / "nyu.mat", "--splits", folder / "splits.mat", "-o", folder / "out"]


def predictions(truth: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(1).lognormal(0, 0.2, truth.shape)
    return (0.8 * np.where(truth > 0, truth, 2.0) * noise + 0.3).astype(np.float32)


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "out" / "scores.json").read_text())


def expected_rmse(pred: np.ndarray, truth: np.ndarray, *, low: float = 1e-3, high: float = 10.0, crop: Any = None,
                 pooling: str = "images", align: str | None = None) -> float:  # fmt: skip
    squares = []
    for d, g in zip(pred.astype(np.float64), truth.astype(np.float64), strict=True):
        if crop is not None:
            d, g = d[crop], g[crop]
        keep = (g >= low) & (g <= high)
        d, g = d[keep], g[keep]
        if align == "median":
            d = d * np.median(g) / np.median(d)
        if align == "least-squares":
            scale, shift = np.polyfit(d, g, 1)
            d = scale * d + shift
        squares.append((np.clip(d, low, high) - g) ** 2)
    if pooling == "images":
        return float(np.mean([np.sqrt(square.mean()) for square in squares]))
    return float(np.sqrt(np.concatenate(squares).mean()))


def write_frames(folder: Path, size: tuple[int, int], names: list[str]) -> np.ndarray:
    """A list of frames at ``size`` with depth to 20 m, images/ and depths/ of those names; the depth, in metres."""
    depths = np.random.default_rng(0).uniform(1, 20, (len(names), *size)).round(2).astype(np.float32)
    depths[:, :3] = 0.0
    lines = []
    for name, depth in zip(names, depths, strict=True):
        for kind, pixels in (("images", np.zeros((*size, 3), np.uint8)), ("depths", (depth * 256).astype(np.uint16))):
            path = folder / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(path)
        lines.append(f"images/{name}.png depths/{name}.png")
    (folder / "list.txt").write_text("\n".join(lines))
    return (depths * 256).astype(np.uint16) / np.float32(256)


def write_values(folder: Path, names: list[str], values: np.ndarray) -> None:
    for name, image in zip(names, values, strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        np.save(folder / f"{name}.npy", image)
