"""A random furnished room, and a camera in it."""

from __future__ import annotations

import math

import numpy as np

from depthattn.data.rooms import fixtures, materials
from depthattn.data.rooms.furniture import PIECES, chair
from depthattn.data.rooms.materials import Random, between, pick
from depthattn.data.rooms.placement import Placement
from depthattn.data.rooms.raycast import Camera, glance
from depthattn.data.rooms.scene import Point, Scene

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
_KINDS = (
    ("bedroom",) * 6
    + ("living",) * 7
    + ("dining",) * 5
    + ("kitchen",) * 4
    + ("office",) * 5
    + ("corridor",) * 3
    + ("hall",) * 5
)


def _room_size(kind: str, random: Random) -> Point:
    height = between(random, 2.3, 2.9)
    if kind == "corridor":
        return between(random, 1.5, 2.3), height, between(random, 7.0, 9.6)
    if kind == "hall":
        width, length = between(random, 4.0, 5.5), between(random, 6.5, 8.8)
        shrink = min(1.0, _LONGEST_DIAGONAL / math.hypot(width, length))
        return width * shrink, between(random, 2.6, 3.4), length * shrink
    return between(random, 2.7, 4.6), height, between(random, 3.0, 5.8)


def furnish(random: Random) -> tuple[Scene, Placement]:
    """A random room with its openings, furniture and lights."""
    kind = pick(random, _KINDS)
    wall = materials.wall(random)
    accent = wall if random.random() < 0.7 else materials.wall(random)
    scene = Scene(_room_size(kind, random), (wall, accent), materials.floor(random), materials.ceiling(random))
    layout = Placement(scene, random)
    fixtures.add_ceiling_light(layout)
    for _ in range(1 + int(random.random() * 2)):
        fixtures.add_door(layout)
    for _ in range(int(random.random() * 3)):
        fixtures.add_window(layout)
    if random.random() < 0.5:
        fixtures.add_rug(layout)
    at_wall, free = _FURNISHING[kind]
    if random.random() < 0.15:
        fixtures.add_pillar(layout)
    for name in free:
        if random.random() < 0.75:
            piece = PIECES[name](random)
            spot = layout.put_free(piece)
            if spot is not None and name == "table":
                layout.put_chairs(chair(random), piece, *spot)
    for name in at_wall:
        if random.random() < 0.92:
            layout.put_at_wall(PIECES[name](random))
    for _ in range(int(random.random() * 4)):
        fixtures.add_picture(layout)
    return scene, layout


def place_camera(scene: Scene, layout: Placement) -> Camera:
    """A held camera off walls and furniture that sees some of the furniture, and nothing too near for the sensor."""
    random = layout.random
    width, height, length = scene.size
    boxes = scene.boxes()
    camera = Camera((0.0, 1.5, 0.0), 0.0, 0.0, 0.0)
    for attempt in range(16):
        # More often near a wall than in the middle, as people stand back to take a picture.
        x, z = (0.5 * (side - 0.8) * math.sin(between(random, -1.0, 1.0) * math.pi / 2) for side in (width, length))
        if not layout.is_clear(x, z, 0.3) and attempt < 12:
            continue
        # Toward a point on the other side of the room, so that walls right ahead are rare.
        to_x, to_z = -x + between(random, -0.35, 0.35) * width, -z + between(random, -0.35, 0.35) * length
        yaw = math.atan2(to_x - x, to_z - z)
        place = (x, between(random, 1.0, min(1.75, height - 0.4)), z)
        camera = Camera(place, yaw, between(random, -0.42, 0.06), random.normal(0.0, 0.03))
        depth, box = glance(boxes, camera, _PREVIEW)
        shares = np.bincount(box.ravel(), minlength=2) / box.size
        if depth.min() > 0.55 and np.median(depth) > 1.3 and shares[0] < 0.85 and shares[1:].max() < 0.45:
            break
    return camera
