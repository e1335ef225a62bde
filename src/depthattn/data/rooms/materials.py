"""Random colours and materials that look like those of rooms."""

from __future__ import annotations

import colorsys

import numpy as np

from depthattn.data.rooms.scene import RGB, Material

Random = np.random.Generator


def pick(random: Random, options: tuple[str, ...]) -> str:
    """One of the options, all as likely."""
    return options[int(random.random() * len(options))]


def between(random: Random, low: float, high: float) -> float:
    """A number drawn uniformly."""
    return low + (high - low) * random.random()


def colour(
    random: Random, hue: tuple[float, float], saturation: tuple[float, float], value: tuple[float, float]
) -> RGB:
    """An sRGB colour inside bounds of hue, saturation and value."""
    return colorsys.hsv_to_rgb(between(random, *hue) % 1.0, between(random, *saturation), between(random, *value))


def shaded(base: RGB, factor: float) -> RGB:
    """The colour darker or lighter by a factor."""
    return (min(1.0, base[0] * factor), min(1.0, base[1] * factor), min(1.0, base[2] * factor))


def wood(random: Random) -> Material:
    """Planks of one of the usual browns, painted white or nearly black."""
    kind = random.random()
    if kind < 0.7:
        base = colour(random, (0.05, 0.11), (0.3, 0.65), (0.3, 0.8))
    elif kind < 0.88:
        base = colour(random, (0.08, 0.16), (0.0, 0.12), (0.78, 0.95))
    else:
        base = colour(random, (0.02, 0.1), (0.1, 0.4), (0.1, 0.22))
    return Material("wood", between(random, 0.06, 0.16), base, shaded(base, between(random, 0.55, 0.85)))


def fabric(random: Random) -> Material:
    """Cloth of any hue: mostly plain weave, at times striped or checked."""
    base = colour(random, (0.0, 1.0), (0.1, 0.7), (0.2, 0.85))
    kind = random.random()
    if kind < 0.6:
        return Material("noise", 0.05, base, shaded(base, 0.75))
    other = colour(random, (0.0, 1.0), (0.0, 0.4), (0.5, 0.95))
    return Material("stripes" if kind < 0.85 else "checks", between(random, 0.05, 0.2), base, other)


def metal(random: Random) -> Material:
    """Grey, dark or brass."""
    base = colour(random, (0.08, 0.14), (0.0, 0.35), (0.15, 0.75))
    return Material("plain", 1.0, base, base, gloss=0.5)


def wall(random: Random) -> Material:
    """Paint as a rule; at times wallpaper, panels or bricks."""
    base = colour(random, (0.0, 1.0), (0.02, 0.22), (0.62, 0.97))
    if random.random() < 0.3:
        base = colour(random, (0.06, 0.16), (0.05, 0.3), (0.7, 0.97))
    kind = random.random()
    if kind < 0.6:
        return Material("plain", 1.0, base, shaded(base, 0.94))
    if kind < 0.78:
        return Material("stripes", between(random, 0.12, 0.4), base, shaded(base, between(random, 0.75, 0.92)))
    if kind < 0.86:
        return Material("tiles", between(random, 0.2, 0.5), base, shaded(base, 0.65))
    if kind < 0.93:
        brick = colour(random, (0.01, 0.08), (0.25, 0.6), (0.4, 0.75))
        return Material(
            "bricks", between(random, 0.08, 0.13), brick, colour(random, (0.08, 0.12), (0.0, 0.1), (0.6, 0.8))
        )
    return Material("noise", 0.6, base, shaded(base, 0.75))


def floor(random: Random) -> Material:
    """Planks, tiles, a chequered floor or carpet."""
    kind = random.random()
    if kind < 0.5:
        base = colour(random, (0.05, 0.11), (0.25, 0.6), (0.35, 0.8))
        return Material("wood", between(random, 0.09, 0.22), base, shaded(base, between(random, 0.55, 0.8)), gloss=0.1)
    base = colour(random, (0.04, 0.16), (0.02, 0.25), (0.45, 0.9))
    if kind < 0.72:
        return Material("tiles", between(random, 0.25, 0.6), base, shaded(base, 0.55), gloss=0.2)
    if kind < 0.82:
        return Material("checks", between(random, 0.25, 0.5), base, shaded(base, between(random, 0.3, 0.7)), gloss=0.2)
    carpet = colour(random, (0.0, 1.0), (0.05, 0.45), (0.3, 0.75))
    return Material("noise", 0.12, carpet, shaded(carpet, 0.75))


def ceiling(random: Random) -> Material:
    """White or nearly so, plain or in panels."""
    base = colour(random, (0.06, 0.16), (0.0, 0.08), (0.82, 0.99))
    if random.random() < 0.25:
        return Material("tiles", 0.6, base, shaded(base, 0.75))
    return Material("plain", 1.0, base, base)


def rug(random: Random) -> Material:
    """Stripes, checks or a mosaic of strong colours."""
    base = colour(random, (0.0, 1.0), (0.25, 0.8), (0.3, 0.8))
    other = colour(random, (0.0, 1.0), (0.1, 0.7), (0.3, 0.95))
    return Material(pick(random, ("stripes", "checks", "noise", "mosaic")), between(random, 0.08, 0.35), base, other)
