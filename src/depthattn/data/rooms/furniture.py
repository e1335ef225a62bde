"""Furniture as boxes, each piece in its own axes: it stands on the origin and faces +z."""

from __future__ import annotations

from collections.abc import Callable

from depthattn.data.rooms.materials import Random, between, colour, fabric, metal, pick, shaded, wood
from depthattn.data.rooms.scene import Material, Part, Piece


def _legs(width: float, depth: float, height: float, thick: float, material: Material) -> list[Part]:
    x, z = (width - thick) / 2, (depth - thick) / 2
    size = (thick, height, thick)
    return [Part((sx * x, height / 2, sz * z), size, material) for sx in (-1, 1) for sz in (-1, 1)]


def table(random: Random) -> Piece:
    """A dining, coffee or side table on four legs, or a desk on two panels."""
    kind = pick(random, ("dining", "dining", "coffee", "side", "desk"))
    width, depth, height = {
        "dining": (between(random, 0.9, 2.0), between(random, 0.75, 1.05), between(random, 0.71, 0.77)),
        "coffee": (between(random, 0.7, 1.3), between(random, 0.45, 0.75), between(random, 0.36, 0.48)),
        "side": (between(random, 0.4, 0.6), between(random, 0.4, 0.6), between(random, 0.45, 0.65)),
        "desk": (between(random, 1.0, 1.7), between(random, 0.55, 0.8), between(random, 0.71, 0.77)),
    }[kind]
    top_thick = between(random, 0.03, 0.06)
    top = wood(random)
    parts = [Part((0.0, height - top_thick / 2, 0.0), (width, top_thick, depth), top)]
    under = height - top_thick
    if kind == "desk":
        side = Part((-width / 2 + 0.02, under / 2, 0.0), (0.04, under, depth * 0.95), top)
        drawers = Part((width / 2 - 0.22, under / 2, 0.0), (0.42, under, depth * 0.95), _fronts(random, top, 0.22))
        return Piece("table", width, depth, [*parts, side, drawers])
    legs = wood(random) if random.random() < 0.4 else top
    return Piece(
        "table", width, depth, parts + _legs(width * 0.94, depth * 0.92, under, between(random, 0.04, 0.09), legs)
    )


def chair(random: Random) -> Piece:
    """A seat with a back on four legs."""
    width, depth = between(random, 0.4, 0.52), between(random, 0.4, 0.52)
    seat, top = between(random, 0.42, 0.48), between(random, 0.78, 1.05)
    frame = metal(random) if random.random() < 0.3 else wood(random)
    cover = fabric(random) if random.random() < 0.5 else frame
    parts = _legs(width, depth, seat - 0.02, between(random, 0.03, 0.05), frame)
    parts.append(Part((0.0, seat, 0.0), (width, 0.05, depth), cover))
    parts.append(Part((0.0, (seat + top) / 2 + 0.06, -depth / 2 + 0.02), (width, top - seat - 0.12, 0.04), cover))
    parts.extend(
        Part((side * (width / 2 - 0.02), (seat + top) / 2, -depth / 2 + 0.02), (0.045, top - seat, 0.045), frame)
        for side in (-1, 1)
    )
    return Piece("chair", width, depth, parts)


def sofa(random: Random) -> Piece:
    """An armchair or a sofa: base, seat cushions, back and two arms."""
    seats = 1 + int(random.random() * 3)
    arm = between(random, 0.12, 0.22)
    width = seats * between(random, 0.55, 0.7) + 2 * arm
    depth, seat, back = between(random, 0.8, 1.0), between(random, 0.38, 0.46), between(random, 0.75, 0.95)
    cloth = fabric(random)
    cushion = cloth if random.random() < 0.6 else fabric(random)
    arm_height = seat + between(random, 0.12, 0.24)
    inner = (width - 2 * arm) / seats
    parts = [
        Part((0.0, seat / 2 - 0.03, 0.0), (width, seat - 0.1, depth), cloth),
        Part((0.0, back / 2, -depth / 2 + 0.11), (width, back, 0.22), cloth),
    ]
    parts.extend(
        Part((side * (width - arm) / 2, arm_height / 2, 0.03), (arm, arm_height, depth - 0.02), cloth)
        for side in (-1, 1)
    )
    for number in range(seats):
        x = (number - (seats - 1) / 2) * inner
        parts.append(Part((x, seat, 0.08), (inner * 0.95, 0.14, depth - 0.3), cushion))
    if random.random() < 0.5:
        pillow = Part((between(random, -0.3, 0.3) * inner, seat + 0.26, -0.15), (0.4, 0.36, 0.14), fabric(random))
        parts.append(pillow)
    return Piece("sofa", width, depth, parts)


def bed(random: Random) -> Piece:
    """A single or double bed: frame, mattress, blanket, headboard and pillows."""
    width, length = pick_width(random), between(random, 1.9, 2.1)
    height, board = between(random, 0.45, 0.6), between(random, 0.8, 1.25)
    frame = wood(random)
    white = colour(random, (0.0, 1.0), (0.0, 0.15), (0.8, 0.97))
    linen = Material("noise", 0.2, white, shaded(white, 0.88))
    cover = between(random, 0.5, 0.72) * length
    parts = [
        Part((0.0, height / 2 - 0.1, 0.0), (width, height - 0.22, length), frame),
        Part((0.0, height - 0.1, 0.0), (width * 0.97, 0.22, length * 0.97), linen),
        Part((0.0, height - 0.09, (length - cover) / 2 + 0.01), (width * 1.03, 0.26, cover), fabric(random)),
        Part((0.0, board / 2, -length / 2 + 0.02), (width * 1.02, board, 0.06), frame),
    ]
    count = 2 if width > 1.2 else 1
    for number in range(count):
        x = (number - (count - 1) / 2) * width * 0.48
        parts.append(
            Part((x, height + 0.06, -length / 2 + 0.28), (width * 0.4 if count == 2 else 0.6, 0.13, 0.38), linen)
        )
    return Piece("bed", width, length, parts)


def pick_width(random: Random) -> float:
    """Width of a single or a double mattress."""
    return between(random, 0.9, 1.05) if random.random() < 0.4 else between(random, 1.35, 1.8)


def _fronts(random: Random, base: Material, period: float) -> Material:
    """Doors and drawers: the seams of a grid on the base's colours."""
    return Material("tiles", period, base.first, shaded(base.first, between(random, 0.35, 0.6)))


def cabinet(random: Random) -> Piece:
    """A chest of drawers, a sideboard, a counter or a wardrobe."""
    kind = pick(random, ("chest", "sideboard", "counter", "wardrobe"))
    width, depth, height = {
        "chest": (between(random, 0.6, 1.1), between(random, 0.4, 0.55), between(random, 0.7, 1.2)),
        "sideboard": (between(random, 1.2, 2.0), between(random, 0.35, 0.5), between(random, 0.45, 0.85)),
        "counter": (between(random, 1.2, 2.6), between(random, 0.58, 0.65), between(random, 0.86, 0.94)),
        "wardrobe": (between(random, 0.8, 1.8), between(random, 0.5, 0.65), between(random, 1.8, 2.15)),
    }[kind]
    base = wood(random)
    period = between(random, 0.2, 0.3) if kind in ("chest", "sideboard") else between(random, 0.45, 0.6)
    parts = [
        Part(
            (0.0, 0.04, -0.03),
            (width * 0.96, 0.08, depth * 0.9),
            Material("plain", 1.0, (0.1, 0.1, 0.1), (0.1, 0.1, 0.1)),
        ),
        Part((0.0, (height + 0.06) / 2, 0.0), (width, height - 0.1, depth), _fronts(random, base, period)),
        Part((0.0, height - 0.015, 0.0), (width + 0.03, 0.03, depth + 0.03), wood(random)),
    ]
    if kind == "counter" and random.random() < 0.6:
        upper = between(random, 1.4, 1.55)
        parts.append(Part((0.0, upper + 0.33, -depth / 2 + 0.17), (width, 0.66, 0.34), _fronts(random, base, period)))
    return Piece("cabinet", width, depth, parts)


def shelf(random: Random) -> Piece:
    """An open bookcase, some of its boards filled with books."""
    width, depth, height = between(random, 0.5, 1.2), between(random, 0.25, 0.38), between(random, 0.9, 2.1)
    board = wood(random)
    levels = max(2, round(height / between(random, 0.33, 0.45)))
    gap = (height - 0.03) / levels
    parts = [Part((side * (width - 0.03) / 2, height / 2, 0.0), (0.03, height, depth), board) for side in (-1, 1)]
    parts.append(Part((0.0, height / 2, -depth / 2 + 0.01), (width, height, 0.02), board))
    parts.extend(Part((0.0, 0.015 + level * gap, 0.0), (width, 0.03, depth), board) for level in range(levels + 1))
    for level in range(levels):
        if random.random() < 0.75:
            tall, wide = gap * between(random, 0.5, 0.85), (width - 0.08) * between(random, 0.35, 1.0)
            x = between(random, -1.0, 1.0) * (width - 0.08 - wide) / 2
            books = Material("mosaic", between(random, 0.025, 0.06), (0.5, 0.3, 0.2), (0.5, 0.5, 0.5))
            parts.append(Part((x, 0.03 + level * gap + tall / 2, -0.03), (wide, tall, depth * 0.7), books))
    return Piece("shelf", width, depth, parts)


def lamp(random: Random) -> Piece:
    """A standing lamp."""
    height, shade = between(random, 1.3, 1.75), between(random, 0.28, 0.45)
    stand = metal(random)
    glow = colour(random, (0.08, 0.15), (0.1, 0.4), (0.85, 1.0))
    parts = [
        Part((0.0, 0.02, 0.0), (0.28, 0.04, 0.28), stand),
        Part((0.0, height / 2, 0.0), (0.035, height, 0.035), stand),
        Part((0.0, height, 0.0), (shade, shade * 0.75, shade), Material("light", 1.0, glow, glow)),
    ]
    return Piece("lamp", shade, shade, parts)


PIECES: dict[str, Callable[[Random], Piece]] = {
    "table": table,
    "chair": chair,
    "sofa": sofa,
    "bed": bed,
    "cabinet": cabinet,
    "shelf": shelf,
    "lamp": lamp,
}
