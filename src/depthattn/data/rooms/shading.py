"""Colours of the pixels: procedural patterns under a few lamps and a soft sky."""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from depthattn.data.rooms.materials import Random
from depthattn.data.rooms.raycast import Camera, Hits
from depthattn.data.rooms.scene import CLASS_IDS, PATTERN_IDS, RGB, Array, Scene

_SIDE = 256
_OTHER_AXES = np.array([[2, 1], [0, 2], [0, 1]])


@functools.cache
def noise_tile() -> Array:
    """(256,256) tileable fractal noise in [0,1] with an even histogram."""
    random = np.random.default_rng(0)
    frequency = np.fft.fftfreq(_SIDE)
    radius = np.hypot(frequency[:, None], frequency[None, :])
    radius[0, 0] = 1.0
    phase = np.exp(2j * np.pi * random.random((_SIDE, _SIDE)))
    field = np.fft.ifft2(phase / radius).real
    ranks = np.empty(_SIDE * _SIDE, dtype=np.float32)
    ranks[np.argsort(field, axis=None)] = np.linspace(0.0, 1.0, _SIDE * _SIDE, dtype=np.float32)
    return ranks.reshape(_SIDE, _SIDE)


@functools.cache
def _palette() -> Array:
    """(3,64) linear colours of book spines and pictures."""
    random = np.random.default_rng(1)
    base = random.random((1, 64)) * 0.6 + 0.05
    return np.clip(base + (random.random((3, 64)) - 0.5) * 0.6, 0.02, 0.9).astype(np.float32)


def _linear(colours: list[RGB]) -> Array:
    """(3,M) linear colours of sRGB ones."""
    return np.asarray(np.array(colours, dtype=np.float32).T ** np.float32(2.2), order="C")


class Surface(NamedTuple):
    """Per pixel (N,): linear colour (3,N), gloss, cosine of the viewing angle, class id."""

    colour: Array
    gloss: Array
    facing: Array
    labels: Array


def _noise(u: Array, v: Array, per_metre: float) -> Array:
    mask = _SIDE - 1
    return np.asarray(
        noise_tile()[(u * per_metre).astype(np.int32) & mask, (v * per_metre).astype(np.int32) & mask], dtype=np.float32
    )


def _hash(a: Array, b: Array) -> Array:
    """Whole numbers 0..63 that look random."""
    a, b = a.astype(np.int64), b.astype(np.int64)
    return np.asarray(((a * 7919 + b * 104729) ^ (a << 3)) & 63)


def _mix(pattern: str, u: Array, v: Array, noise: Array) -> Array:
    """Share of the second colour at pattern coordinates in periods."""
    if pattern == "checks":
        return np.asarray((np.floor(u) + np.floor(v)) % 2, dtype=np.float32)
    if pattern == "stripes":
        return np.asarray(np.floor(2 * u) % 2, dtype=np.float32)
    if pattern == "wood":
        plank = np.floor(v)
        seam = (v - plank < 0.06).astype(np.float32)
        tone = 0.25 * (_hash(plank, plank) / 63.0) + 0.6 * noise
        return np.asarray(np.maximum(seam, tone), dtype=np.float32)
    if pattern == "tiles":
        return ((u - np.floor(u) < 0.06) | (v - np.floor(v) < 0.06)).astype(np.float32)
    if pattern == "bricks":
        row = np.floor(v)
        along = u / 2.4 + 0.5 * (row % 2)
        mortar = (v - row < 0.12) | (along - np.floor(along) < 0.05)
        return np.where(mortar, np.float32(1.0), 0.35 * noise).astype(np.float32)
    return noise


def _face_coordinates(scene: Scene, camera: Camera, hits: Hits) -> tuple[Array, Array, Array]:
    """Points (N,3) in their box's axes, the face's axis (N,), and points in the room's axes (N,3)."""
    boxes = scene.boxes()
    rays = hits.rays.reshape(3, -1)
    points = rays * hits.depth.ravel() + np.array(camera.place, dtype=np.float32)[:, None]
    rows = boxes.T[:, hits.box.ravel()]
    x, y, z = points - rows[:3]
    local = np.stack([rows[6] * x - rows[7] * z, y, rows[7] * x + rows[6] * z])
    axis = (np.abs(local) / rows[3:6]).argmax(axis=0)
    return local, axis, points


def _material_rows(scene: Scene, hits: Hits, axis: Array, local: Array) -> tuple[Array, Array]:
    """Material and class of each pixel; the room's own faces differ by direction."""
    box = hits.box.ravel()
    material = scene.material_ids()[box]
    labels = scene.labels()[box]
    shell = box == 0
    upward = local[1] < 0
    horizontal = shell & (axis == 1)
    material[shell & (axis == 2)] = 0
    material[shell & (axis == 0)] = 1
    material[horizontal] = np.where(upward[horizontal], 2, 3)
    labels[horizontal] = np.where(upward[horizontal], CLASS_IDS["floor"], CLASS_IDS["ceiling"])
    return material, labels


def _albedo(scene: Scene, material: Array, u: Array, v: Array, footprint: Array, offsets: Array) -> Array:
    """Linear colour (3,N) of each pixel's pattern, fading to its mean where a pixel covers a period."""
    first = _linear([m.first for m in scene.materials])[:, material]
    second = _linear([m.second for m in scene.materials])[:, material]
    period = np.array([m.period for m in scene.materials], dtype=np.float32)[material]
    pattern = np.array([PATTERN_IDS[m.pattern] for m in scene.materials])[material]
    shift = offsets[material]
    u, v = u + shift[:, 0], v + shift[:, 1]
    fine = _noise(u, v, 60.0)
    coarse = _noise(u + 3.7, v + 1.3, 12.0)
    mix = 0.5 * fine + 0.5 * coarse
    sharp = np.clip(period / (2.5 * footprint) - 0.6, 0.0, 1.0)
    for name, number in PATTERN_IDS.items():
        if name in ("plain", "noise", "mosaic", "light"):
            continue
        at = np.flatnonzero(pattern == number)
        if at.size:
            grain = _noise(u[at] * 0.1, v[at], 90.0) if name == "wood" else fine[at]
            value = _mix(name, u[at] / period[at], v[at] / period[at], grain)
            mean = 0.06 if name == "tiles" else 0.45
            mix[at] = mean + (value - mean) * sharp[at]
    noisy = np.flatnonzero(pattern == PATTERN_IDS["noise"])
    mix[noisy] = _noise(u[noisy], v[noisy], 20.0) * 0.7 + fine[noisy] * 0.3
    colour = first + (second - first) * mix
    mosaic = np.flatnonzero(pattern == PATTERN_IDS["mosaic"])
    if mosaic.size:
        spine = np.floor(u[mosaic] / period[mosaic])
        shelf = np.floor(v[mosaic] / np.maximum(period[mosaic], 0.3))
        colour[:, mosaic] = _palette()[:, _hash(spine, shelf)] * 0.8 + 0.2 * colour[:, mosaic]
    colour *= 0.9 + 0.2 * fine
    return np.asarray(colour)


def _lighting(scene: Scene, points: Array, normal: Array, floor: Array) -> Array:
    """Light (3,N) from lamps that fall off with distance, a soft ambient part, and darkened corners and floor."""
    half = np.array(scene.size, dtype=np.float32)[:, None] / 2
    corner = np.ones(points.shape[1], dtype=np.float32)
    gap = half - np.abs(points - np.array([[0.0], [half[1, 0]], [0.0]], dtype=np.float32))
    for axis in range(3):
        along = 1.0 - np.abs(normal[axis])
        corner *= 1.0 - 0.4 * along * np.exp(gap[axis] * -4.0)
    light = np.repeat((0.2 + 0.07 * normal[1])[None], 3, axis=0).astype(np.float32)
    for place, tone in scene.lights:
        toward = np.array(place, dtype=np.float32)[:, None] - points
        squared = np.einsum("ij,ij->j", toward, toward)
        cosine = np.einsum("ij,ij->j", toward, normal) / np.sqrt(squared + 1e-4)
        strength = np.maximum(cosine * 0.85 + 0.15, 0.0) / (squared * 0.35 + 0.6)
        light += strength * np.array(tone, dtype=np.float32)[:, None]
    at = np.flatnonzero(floor)
    shade = np.ones(at.size, dtype=np.float32)
    x, z = points[0, at], points[2, at]
    for center_x, center_z, cos, sin, half_x, half_z in scene.shadows:
        off_x, off_z = x - np.float32(center_x), z - np.float32(center_z)
        out_x = np.abs(cos * off_x - sin * off_z) - (half_x - 0.1)
        out_z = np.abs(sin * off_x + cos * off_z) - (half_z - 0.1)
        outside = np.maximum(np.maximum(out_x, out_z), 0.0)
        shade *= 1.0 - 0.5 * np.clip(1.0 - outside / 0.35, 0.0, 1.0)
    corner[at] *= shade
    return np.asarray(light * corner)


def shade(scene: Scene, camera: Camera, hits: Hits, random: Random) -> tuple[Array, Surface]:
    """Radiance (3,N) and surface of every pixel."""
    local, axis, points = _face_coordinates(scene, camera, hits)
    material, labels = _material_rows(scene, hits, axis, local)
    pixels = np.arange(axis.size)
    u = local[_OTHER_AXES[axis, 0], pixels]
    v = local[_OTHER_AXES[axis, 1], pixels]
    box = hits.box.ravel()
    inward = np.where(box == 0, -1.0, 1.0).astype(np.float32)
    sign = np.sign(local[axis, pixels]) * inward
    rows = scene.boxes().T[:, box]
    turned = np.zeros((3, axis.size), dtype=np.float32)
    turned[axis, pixels] = sign
    normal = np.stack([rows[6] * turned[0] + rows[7] * turned[2], turned[1], rows[6] * turned[2] - rows[7] * turned[0]])
    rays = hits.rays.reshape(3, -1)
    length = np.sqrt(np.einsum("ij,ij->j", rays, rays))
    facing = np.abs(np.einsum("ij,ij->j", rays, normal)) / length
    footprint = hits.depth.ravel() * length / (hits.focal * np.maximum(facing, 0.08))
    offsets = (random.random((len(scene.materials), 2)) * 20.0).astype(np.float32)
    colour = _albedo(scene, material, u, v, footprint, offsets)
    floor = (labels == CLASS_IDS["floor"]) | (labels == CLASS_IDS["rug"])
    radiance = colour * _lighting(scene, points, normal, floor)
    glowing = np.array([m.pattern == "light" for m in scene.materials])[material]
    at = np.flatnonzero(glowing)
    radiance[:, at] = _glow(scene, material[at], rows[:, at], local[1, at])
    gloss = np.array([m.gloss for m in scene.materials], dtype=np.float32)[material]
    return radiance, Surface(colour, gloss, facing, labels)


def _glow(scene: Scene, material: Array, rows: Array, up: Array) -> Array:
    """Radiance of lamps, and of windows from the ground below to the sky above."""
    first = _linear([m.first for m in scene.materials])[:, material]
    second = _linear([m.second for m in scene.materials])[:, material]
    rise = np.clip((up / rows[4] + 0.6) * 1.2, 0.0, 1.0)
    return np.asarray(0.95 * (second + (first - second) * rise))
