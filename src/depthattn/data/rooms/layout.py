"""A random furnished room, and a camera in it."""

from __future__ import annotations

import math

import numpy as np

from depthattn.data.rooms import materials
from depthattn.data.rooms.furniture import PIECES, chair
from depthattn.data.rooms.materials import Random, between, pick
from depthattn.data.rooms.raycast import Camera, cast
from depthattn.data.rooms.scene import Material, Part, Piece, Point, Scene

_QUARTER = math.pi / 2
_PREVIEW = (9, 12)
# Longest floor diagonal in metres: with the camera off the walls, all depth stays within the 10 m of the sensor.
_LONGEST_DIAGONAL = 9.9

# What stands in each kind of room: pieces that go to the walls, then pieces that stand free.
_FURNISHING = {
    "bedroom": (("bed", "cabinet", "cabinet", "shelf", "table", "lamp"), ("chair",)),
    "living": (("sofa", "shelf", "cabinet", "sofa", "lamp"), ("table", "sofa", "chair")),
    "dining": (("cabinet", "cabinet", "shelf"), ("table", "lamp")),
    "kitchen": (("cabinet", "cabinet", "cabinet"), ("table",)),
    "office": (("table", "shelf", "shelf", "cabinet"), ("table", "chair", "chair")),
    "corridor": (("cabinet", "shelf", "table", "chair"), ()),
    "hall": (("cabinet", "shelf", "sofa", "sofa", "lamp"), ("table", "table", "sofa", "chair")),
}
# Long rooms are the tail of the depth distribution: there, but rare.
_KINDS = ("bedroom",) * 6 + ("living",) * 7 + ("dining",) * 5 + ("kitchen",) * 4 + ("office",) * 5 + ("corridor", "hall", "hall")


class _Layout:
    """Places things in a scene so that they do not overlap."""

    def __init__(self, scene: Scene, random: Random) -> None:
        self.scene = scene
        self.random = random
        self._floor_taken: list[tuple[float, float, float, float]] = []
        self._wall_taken: list[tuple[int, float, float]] = []

    def wall(self, number: int, along: float, height: float, off: float) -> tuple[Point, float]:
        """Place and yaw of a thing on wall 0..3, ``along`` metres from its middle and ``off`` metres from it."""
        width, _, length = self.scene.size
        yaw = number * _QUARTER
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
            low, high = along - width / 2, along + width / 2
            if all(wall != number or high < start or low > end for wall, start, end in self._wall_taken):
                self._wall_taken.append((number, low - 0.05, high + 0.05))
                return along
        return None

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
        return all(
            math.hypot(max(low_x - x, 0.0, x - high_x), max(low_z - z, 0.0, z - high_z)) > radius
            for low_x, high_x, low_z, high_z in self._floor_taken
        )

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
            place, yaw = self.wall(number, between(self.random, -room, room), 0.0, off)
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
                yaw = round(yaw / _QUARTER) * _QUARTER + between(self.random, -0.15, 0.15)
            if self.take_floor(place, yaw, piece.width, piece.depth, 0.15):
                self.put(piece, place, yaw)
                return place, yaw
        return None

    def put_chairs(self, piece: Piece, place: Point, yaw: float) -> None:
        """Chairs along the four sides of a table, facing it, a few of them missing."""
        cos, sin = math.cos(yaw), math.sin(yaw)
        model_state = self.random.integers(1 << 31)
        for side in range(4):
            across, along = (piece.depth, piece.width) if side % 2 == 0 else (piece.width, piece.depth)
            count = int(along // 0.65)
            for number in range(count):
                if self.random.random() < 0.25:
                    continue
                seat = chair(_restarted(int(model_state)))
                x = (number - (count - 1) / 2) * 0.62
                z = -(across / 2 + between(self.random, 0.05, 0.3))
                turned = yaw + side * _QUARTER
                local_cos, local_sin = math.cos(side * _QUARTER), math.sin(side * _QUARTER)
                local_x, local_z = local_cos * x + local_sin * z, -local_sin * x + local_cos * z
                spot = (place[0] + cos * local_x + sin * local_z, 0.0, place[2] - sin * local_x + cos * local_z)
                angle = turned + between(self.random, -0.3, 0.3)
                limit_x, limit_z = self.scene.size[0] / 2 - 0.32, self.scene.size[2] / 2 - 0.32
                if abs(spot[0]) < limit_x and abs(spot[2]) < limit_z and self.is_clear_of_others(spot, place):
                    self.put(seat, spot, angle)
                    self._floor_taken.append((spot[0] - 0.25, spot[0] + 0.25, spot[2] - 0.25, spot[2] + 0.25))

    def is_clear_of_others(self, spot: Point, table: Point) -> bool:
        """Whether a chair fits at a spot; the table it belongs to does not count."""
        return all(
            (low_x <= table[0] <= high_x and low_z <= table[2] <= high_z)
            or math.hypot(max(low_x - spot[0], 0.0, spot[0] - high_x), max(low_z - spot[2], 0.0, spot[2] - high_z)) > 0.27
            for low_x, high_x, low_z, high_z in self._floor_taken
        )


def _restarted(state: int) -> Random:
    return np.random.default_rng(state)


def _plain(base: materials.RGB) -> Material:
    return Material("plain", 1.0, base, base)


def _add_door(layout: _Layout) -> None:
    random = layout.random
    width, height = between(random, 0.75, 1.0), between(random, 1.95, 2.1)
    number = int(random.random() * 4)
    along = layout.free_stretch(number, width + 0.2)
    if along is None:
        return
    leaf = materials.wood(random)
    panels = Material("tiles", width / 2, leaf.first, materials.shaded(leaf.first, 0.6))
    frame = _plain(materials.shaded(leaf.first, between(random, 0.6, 1.3)))
    knob = materials.metal(random)
    parts = [
        Part((0.0, height / 2, 0.0), (width, height, 0.04), panels),
        Part((-width / 2 - 0.04, height / 2, 0.0), (0.08, height, 0.08), frame),
        Part((width / 2 + 0.04, height / 2, 0.0), (0.08, height, 0.08), frame),
        Part((0.0, height + 0.04, 0.0), (width + 0.16, 0.08, 0.08), frame),
        Part((width / 2 - 0.08, 1.0, 0.05), (0.1, 0.04, 0.06), knob),
    ]
    place, yaw = layout.wall(number, along, 0.0, 0.02)
    layout.scene.add("door", parts, place, yaw)
    clear, _ = layout.wall(number, along, 0.0, 0.42)
    layout.take_floor(clear, yaw, width, 0.8, 0.0)


def _add_window(layout: _Layout) -> None:
    random = layout.random
    width, height = between(random, 0.8, 2.2), between(random, 0.9, 1.5)
    number = int(random.random() * 4)
    along = layout.free_stretch(number, width + 0.5)
    if along is None:
        return
    sill = between(random, 0.75, 1.0)
    middle = min(sill + height / 2, layout.scene.size[1] - height / 2 - 0.1)
    sky = materials.colour(random, (0.52, 0.62), (0.0, 0.3), (0.85, 1.0))
    glass = Material("light", 1.0, sky, materials.colour(random, (0.15, 0.35), (0.1, 0.4), (0.35, 0.8)), gloss=1.0)
    frame = _plain(materials.colour(random, (0.05, 0.12), (0.0, 0.3), (0.4, 0.97)))
    parts = [Part((0.0, middle, 0.0), (width, height, 0.02), glass)]
    parts += [Part((side * width / 2, middle, 0.02), (0.06, height + 0.06, 0.06), frame) for side in (-1, 0, 1)]
    parts += [Part((0.0, middle + side * height / 2, 0.02), (width, 0.06, 0.06), frame) for side in (-1, 1)]
    if random.random() < 0.5:
        cloth = materials.fabric(random)
        curtain = Material("stripes", 0.11, cloth.first, materials.shaded(cloth.first, 0.7))
        parts += [
            Part((side * (width / 2 + 0.12), middle - 0.1, 0.07), (0.3, height + 0.5, 0.08), curtain) for side in (-1, 1)
        ]
    place, yaw = layout.wall(number, along, 0.0, 0.01)
    layout.scene.add("window", parts, place, yaw)
    inside, _ = layout.wall(number, along, middle, 0.4)
    layout.scene.lights.append((inside, materials.colour(random, (0.1, 0.6), (0.0, 0.15), (0.7, 1.3))))


def _add_picture(layout: _Layout) -> None:
    random = layout.random
    width, height = between(random, 0.25, 1.0), between(random, 0.25, 0.8)
    number = int(random.random() * 4)
    along = layout.free_stretch(number, width + 0.1)
    if along is None:
        return
    middle = between(random, 1.35, 1.75)
    frame = _plain(materials.colour(random, (0.04, 0.14), (0.0, 0.6), (0.1, 0.9)))
    art = Material("mosaic", between(random, 0.1, 0.3), (0.2, 0.4, 0.6), (0.8, 0.6, 0.3), gloss=0.3)
    parts = [
        Part((0.0, middle, 0.0), (width, height, 0.03), frame),
        Part((0.0, middle, 0.01), (width - 0.07, height - 0.07, 0.03), art),
    ]
    place, yaw = layout.wall(number, along, 0.0, 0.015)
    layout.scene.add("picture", parts, place, yaw)


def _add_rug(layout: _Layout) -> None:
    random = layout.random
    width = min(between(random, 1.0, 2.6), layout.scene.size[0] * 0.8)
    depth = min(between(random, 0.7, 1.8), layout.scene.size[2] * 0.8)
    place = (
        between(random, -0.5, 0.5) * (layout.scene.size[0] - width) * 0.8,
        0.0,
        between(random, -0.5, 0.5) * (layout.scene.size[2] - depth) * 0.8,
    )
    parts = [Part((0.0, 0.008, 0.0), (width, 0.016, depth), materials.rug(random))]
    layout.scene.add("rug", parts, place, between(random, -0.15, 0.15))


def _add_ceiling_light(layout: _Layout) -> None:
    random = layout.random
    height = layout.scene.size[1]
    x, z = between(random, -0.2, 0.2) * layout.scene.size[0], between(random, -0.3, 0.3) * layout.scene.size[2]
    tone = materials.colour(random, (0.08, 0.14), (0.05, 0.35), (0.9, 1.2))
    if random.random() < 0.35:
        drop, wide = between(random, 0.3, 0.7), between(random, 0.2, 0.4)
        glow = Material("light", 1.0, (1.0, 0.95, 0.85), (1.0, 0.95, 0.85))
        parts = [
            Part((0.0, height - drop / 2, 0.0), (0.02, drop, 0.02), materials.metal(random)),
            Part((0.0, height - drop, 0.0), (wide, wide * 0.5, wide), glow),
        ]
        layout.scene.add("lamp", parts, (x, 0.0, z), between(random, 0.0, 1.5))
        layout.scene.lights.append(((x, height - drop - wide * 0.3, z), tone))
    else:
        layout.scene.lights.append(((x, height - 0.15, z), tone))


def _room_size(kind: str, random: Random) -> Point:
    height = between(random, 2.3, 2.9)
    if kind == "corridor":
        return between(random, 1.5, 2.3), height, between(random, 7.0, 9.6)
    if kind == "hall":
        width, length = between(random, 4.0, 5.5), between(random, 6.5, 8.8)
        shrink = min(1.0, _LONGEST_DIAGONAL / math.hypot(width, length))
        return width * shrink, between(random, 2.6, 3.4), length * shrink
    return between(random, 2.7, 4.6), height, between(random, 3.0, 5.8)


def furnish(random: Random) -> tuple[Scene, _Layout]:
    """A random room with its openings, furniture and lights."""
    kind = pick(random, _KINDS)
    wall = materials.wall(random)
    accent = wall if random.random() < 0.7 else materials.wall(random)
    scene = Scene(_room_size(kind, random), (wall, accent), materials.floor(random), materials.ceiling(random))
    layout = _Layout(scene, random)
    _add_ceiling_light(layout)
    for _ in range(1 + int(random.random() * 2)):
        _add_door(layout)
    for _ in range(int(random.random() * 3)):
        _add_window(layout)
    if random.random() < 0.5:
        _add_rug(layout)
    at_wall, free = _FURNISHING[kind]
    if random.random() < 0.15:
        _add_pillar(layout)
    for name in free:
        if random.random() < 0.75:
            piece = PIECES[name](random)
            spot = layout.put_free(piece)
            if spot is not None and name == "table":
                layout.put_chairs(piece, *spot)
    for name in at_wall:
        if random.random() < 0.85:
            layout.put_at_wall(PIECES[name](random))
    for _ in range(int(random.random() * 4)):
        _add_picture(layout)
    return scene, layout


def _add_pillar(layout: _Layout) -> None:
    """A chimney breast or a stub of wall."""
    random = layout.random
    width, depth = between(random, 0.3, 1.4), between(random, 0.15, 0.8)
    number = int(random.random() * 4)
    along = layout.free_stretch(number, width)
    if along is None:
        return
    place, yaw = layout.wall(number, along, 0.0, depth / 2)
    height = layout.scene.size[1]
    if layout.take_floor(place, yaw, width, depth - 0.01, 0.0):
        part = Part((0.0, height / 2, 0.0), (width, height, depth), layout.scene.materials[number % 2])
        layout.scene.add("wall", [part], place, yaw)


def place_camera(scene: Scene, layout: _Layout) -> Camera:
    """A held camera off the walls and the furniture, looking into the room, with nothing nearer than the sensor sees."""
    random = layout.random
    width, height, length = scene.size
    boxes = scene.boxes()
    camera = Camera((0.0, 1.5, 0.0), 0.0, 0.0, 0.0)
    for attempt in range(12):
        x, z = between(random, -0.5, 0.5) * (width - 0.8), between(random, -0.5, 0.5) * (length - 0.8)
        if not layout.is_clear(x, z, 0.3) and attempt < 8:
            continue
        # Toward a point on the other side of the room, so that walls right ahead are rare.
        to_x, to_z = -x + between(random, -0.35, 0.35) * width, -z + between(random, -0.35, 0.35) * length
        yaw = math.atan2(to_x - x, to_z - z)
        place = (x, between(random, 1.0, min(1.75, height - 0.4)), z)
        camera = Camera(place, yaw, between(random, -0.42, 0.06), random.normal(0.0, 0.03))
        preview = cast(boxes, camera, _PREVIEW)
        if preview.depth.min() > 0.6 and float(np.median(preview.depth)) > 1.3:
            break
    return camera
