"""What a room is made of: boxes turned about the vertical axis, each with a label and a material."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
RGB: TypeAlias = tuple[float, float, float]
Point: TypeAlias = tuple[float, float, float]

CLASS_NAMES = (
    "wall",
    "floor",
    "ceiling",
    "door",
    "window",
    "picture",
    "rug",
    "table",
    "chair",
    "sofa",
    "bed",
    "cabinet",
    "shelf",
    "lamp",
)
CLASS_IDS = {name: number for number, name in enumerate(CLASS_NAMES)}

PATTERNS = ("plain", "checks", "stripes", "wood", "tiles", "noise", "bricks", "mosaic", "light")
PATTERN_IDS = {name: number for number, name in enumerate(PATTERNS)}


class Material(NamedTuple):
    """Surface of a box: a pattern of a period in metres between two sRGB colours; gloss 1 is glass."""

    pattern: str
    period: float
    first: RGB
    second: RGB
    gloss: float = 0.0


class Part(NamedTuple):
    """A box of a piece of furniture, placed in the piece's own axes (x right, y up, z to its front)."""

    center: Point
    size: Point
    material: Material


class Piece(NamedTuple):
    """A piece of furniture standing on the origin of its own axes, with the width and depth it needs."""

    label: str
    width: float
    depth: float
    parts: list[Part]


class Scene:
    """A room of width x height x length metres, centred on the vertical axis, with its floor at height 0.

    Args:
        size: width (x), height (y) and length (z) in metres.
        walls: materials of the walls that face along x and along z.
        floor: material of the floor.
        ceiling: material of the ceiling.
    """

    def __init__(self, size: Point, walls: tuple[Material, Material], floor: Material, ceiling: Material) -> None:
        self.size = size
        self.materials = [*walls, floor, ceiling]
        self.lights: list[tuple[Point, RGB]] = []
        self.shadows: list[tuple[float, float, float, float, float, float]] = []
        self._rows: list[tuple[float, ...]] = [(0.0, size[1] / 2, 0.0, *(side / 2 for side in size), 1.0, 0.0)]
        self._labels = [CLASS_IDS["wall"]]
        self._material_ids = [0]

    def add(self, label: str, parts: list[Part], place: Point, yaw: float) -> None:
        """Put the parts of one thing at a place, turned by ``yaw`` radians about the vertical axis."""
        cos, sin = math.cos(yaw), math.sin(yaw)
        for (x, y, z), (width, height, depth), material in parts:
            center = (place[0] + cos * x + sin * z, place[1] + y, place[2] - sin * x + cos * z)
            self._rows.append((*center, width / 2, height / 2, depth / 2, cos, sin))
            self._labels.append(CLASS_IDS[label])
            self._material_ids.append(len(self.materials))
            self.materials.append(material)

    def add_shadow(self, place: Point, yaw: float, width: float, depth: float) -> None:
        """Darken the floor under a footprint."""
        self.shadows.append((place[0], place[2], math.cos(yaw), math.sin(yaw), width / 2, depth / 2))

    def boxes(self) -> Array:
        """(P,8) rows of centre, half size, cos and sin of yaw; row 0 is the room itself, seen from inside."""
        return np.array(self._rows, dtype=np.float32)

    def labels(self) -> Array:
        """(P,) class ids; the room's own faces are told apart by their direction."""
        return np.array(self._labels, dtype=np.int64)

    def material_ids(self) -> Array:
        """(P,) rows in ``materials``."""
        return np.array(self._material_ids, dtype=np.int64)
