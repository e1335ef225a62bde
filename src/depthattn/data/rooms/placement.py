"""Where things stand in a room: walls and floor are taken piece by piece, so that nothing overlaps."""

from __future__ import annotations

import math
from typing import TypeAlias

from depthattn.data.rooms.materials import Random, between
from depthattn.data.rooms.scene import Piece, Point, Scene

QUARTER = math.pi / 2
_Footprint: TypeAlias = tuple[float, float, float, float]


def _distance(taken: _Footprint, x: float, z: float) -> float:
    low_x, high_x, low_z, high_z = taken
    return math.hypot(max(low_x - x, 0.0, x - high_x), max(low_z - z, 0.0, z - high_z))


def _holds(taken: _Footprint, x: float, z: float) -> bool:
    return _distance(taken, x, z) == 0.0


class Placement:
    """Places things in a scene so that they do not overlap."""

    def __init__(self, scene: Scene, random: Random) -> None:
        self.scene = scene
        self.random = random
        self._floor_taken: list[_Footprint] = []
        self._wall_taken: list[tuple[int, float, float]] = []

    def wall(self, number: int, along: float, height: float, off: float) -> tuple[Point, float]:
        """Place and yaw of a thing on wall 0..3, ``along`` metres from its middle and ``off`` metres from it."""
        width, _, length = self.scene.size
        yaw = number * QUARTER
        back = -(length if number % 2 == 0 else width) / 2 + off
        cos, sin = math.cos(yaw), math.sin(yaw)
        return (cos * along + sin * back, height, -sin * along + cos * back), yaw

    def wall_length(self, number: int) -> float:
        return self.scene.size[0] if number % 2 == 0 else self.scene.size[2]

    def free_stretch(self, number: int, width: float) -> float | None:
        """A random place for ``width`` metres of wall with nothing on it yet."""
        room = self.wall_length(number) / 2 - width / 2 - 0.1
        if room <= 0:
            return None
        for _ in range(6):
            along = between(self.random, -room, room)
            if self._take_wall(number, along, width):
                return along
        return None

    def _take_wall(self, number: int, along: float, width: float) -> bool:
        low, high = along - width / 2, along + width / 2
        if any(wall == number and high > start and low < end for wall, start, end in self._wall_taken):
            return False
        self._wall_taken.append((number, low - 0.05, high + 0.05))
        return True

    def take_floor(self, place: Point, yaw: float, width: float, depth: float, gap: float) -> bool:
        """Reserve a footprint, if it lies in the room and is free."""
        cos, sin = abs(math.cos(yaw)), abs(math.sin(yaw))
        half_x, half_z = (cos * width + sin * depth) / 2, (sin * width + cos * depth) / 2
        if abs(place[0]) + half_x > self.scene.size[0] / 2 or abs(place[2]) + half_z > self.scene.size[2] / 2:
            return False
        box = (place[0] - half_x - gap, place[0] + half_x + gap, place[2] - half_z - gap, place[2] + half_z + gap)
        for taken in self._floor_taken:
            if box[0] < taken[1] and box[1] > taken[0] and box[2] < taken[3] and box[3] > taken[2]:
                return False
        self._floor_taken.append((box[0] + gap, box[1] - gap, box[2] + gap, box[3] - gap))
        return True

    def is_clear(self, x: float, z: float, radius: float) -> bool:
        """Whether no footprint comes within ``radius`` of a point of the floor."""
        return all(_distance(taken, x, z) > radius for taken in self._floor_taken)

    def put(self, piece: Piece, place: Point, yaw: float) -> None:
        self.scene.add(piece.label, piece.parts, place, yaw)
        self.scene.add_shadow(place, yaw, piece.width, piece.depth)
        if piece.label == "lamp" and self.random.random() < 0.7:
            self.scene.lights.append(((place[0], piece.parts[-1].center[1], place[2]), (1.0, 0.8, 0.55)))

    def put_at_wall(self, piece: Piece) -> None:
        """Back to a wall, at most a few degrees off, at the first free place of several tries."""
        for _ in range(5):
            number = int(self.random.random() * 4)
            room = (self.wall_length(number) - piece.width) / 2 - 0.03
            if room < 0:
                continue
            turn = between(self.random, -0.12, 0.12) if self.random.random() < 0.4 else 0.0
            off = piece.depth / 2 + 0.04 + abs(turn) * piece.width / 2
            along = between(self.random, -room, room)
            place, yaw = self.wall(number, along, 0.0, off)
            # Only what is low may stand before a window or below a picture.
            tall = any(part.center[1] + part.size[1] / 2 > 0.9 for part in piece.parts)
            if tall and not self._take_wall(number, along, piece.width):
                continue
            if self.take_floor(place, yaw + turn, piece.width, piece.depth, 0.02):
                self.put(piece, place, yaw + turn)
                return

    def put_free(self, piece: Piece) -> tuple[Point, float] | None:
        """Anywhere, at any angle."""
        for _ in range(5):
            place = (
                between(self.random, -0.4, 0.4) * self.scene.size[0],
                0.0,
                between(self.random, -0.4, 0.4) * self.scene.size[2],
            )
            yaw = between(self.random, 0.0, 2 * math.pi)
            if self.random.random() < 0.6:
                yaw = round(yaw / QUARTER) * QUARTER + between(self.random, -0.15, 0.15)
            if self.take_floor(place, yaw, piece.width, piece.depth, 0.15):
                self.put(piece, place, yaw)
                return place, yaw
        return None

    def put_chairs(self, seat: Piece, table: Piece, place: Point, yaw: float) -> None:
        """Alike chairs along the four sides of a table, a few of them missing."""
        around = [taken for taken in self._floor_taken if not _holds(taken, place[0], place[2])]
        limit_x, limit_z = self.scene.size[0] / 2 - 0.32, self.scene.size[2] / 2 - 0.32
        for side in range(4):
            across, along = (table.depth, table.width) if side % 2 == 0 else (table.width, table.depth)
            turned = yaw + side * QUARTER
            cos, sin = math.cos(turned), math.sin(turned)
            count = int(along // 0.65)
            for number in range(count):
                if self.random.random() < 0.25:
                    continue
                right = (number - (count - 1) / 2) * 0.62
                front = -(across / 2 + between(self.random, 0.05, 0.3))
                x, z = place[0] + cos * right + sin * front, place[2] - sin * right + cos * front
                if abs(x) < limit_x and abs(z) < limit_z and all(_distance(taken, x, z) > 0.27 for taken in around):
                    self.put(seat, (x, 0.0, z), turned + between(self.random, -0.3, 0.3))
                    taken = (x - 0.25, x + 0.25, z - 0.25, z + 0.25)
                    around.append(taken)
                    self._floor_taken.append(taken)
