"""What belongs to the walls, floor and ceiling of a room: doors, windows, pictures, rugs, lights, pillars."""

from __future__ import annotations

from depthattn.data.rooms import materials
from depthattn.data.rooms.materials import between
from depthattn.data.rooms.placement import Placement
from depthattn.data.rooms.scene import RGB, Material, Part


def _plain(base: RGB) -> Material:
    return Material("plain", 1.0, base, base)


def add_door(layout: Placement) -> None:
    """A door leaf in its frame; the floor before it stays free."""
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


def add_window(layout: Placement) -> None:
    """A bright window with its frame, at times with curtains; it also lights the room."""
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
            Part((side * (width / 2 + 0.12), middle - 0.1, 0.07), (0.3, height + 0.5, 0.08), curtain)
            for side in (-1, 1)
        ]
    place, yaw = layout.wall(number, along, 0.0, 0.01)
    layout.scene.add("window", parts, place, yaw)
    inside, _ = layout.wall(number, along, middle, 0.4)
    layout.scene.lights.append((inside, materials.colour(random, (0.1, 0.6), (0.0, 0.15), (0.7, 1.3))))


def add_picture(layout: Placement) -> None:
    """A framed picture at eye height."""
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


def add_rug(layout: Placement) -> None:
    """A thin rug, at times under the furniture."""
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


def add_ceiling_light(layout: Placement) -> None:
    """A light below the ceiling, at times in a hanging shade."""
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


def add_pillar(layout: Placement) -> None:
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
