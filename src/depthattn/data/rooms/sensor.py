"""What a camera makes of a room: an exposed, noisy 8-bit picture, and depth with a structured-light sensor's holes."""

from __future__ import annotations

import numpy as np

from depthattn.data.rooms.materials import Random, between
from depthattn.data.rooms.raycast import Hits
from depthattn.data.rooms.scene import Array
from depthattn.data.rooms.shading import Surface, noise_tile

NEAREST_M = 0.5
FARTHEST_M = 10.0
_BASELINE_M = 0.075
# The Kinect's border without depth: 7 of 480 rows and 7 of 640 columns.
_BORDER = (7.0 / 480.0, 7.0 / 640.0)


def expose(radiance: Array, size: tuple[int, int], random: Random) -> Array:
    """(H,W,3) uint8: automatic exposure, white balance, gamma, vignette and sensor noise."""
    height, width = size
    picture = radiance.reshape(3, height, width).transpose(1, 2, 0)
    level = float(np.mean(picture))
    gain = between(random, 0.2, 0.36) / max(level, 1e-3)
    balance = np.array([between(random, 0.9, 1.1), 1.0, between(random, 0.9, 1.1)], dtype=np.float32)
    rows = np.linspace(-1.0, 1.0, height, dtype=np.float32)[:, None]
    columns = np.linspace(-1.0, 1.0, width, dtype=np.float32)[None, :]
    vignette = 1.0 - 0.09 * (rows * rows + columns * columns)
    picture = picture * (balance * np.float32(gain)) * vignette[..., None]
    picture = np.clip(picture, 0.0, 1.0) ** np.float32(1 / 2.2)
    noise = random.standard_normal((height, width, 3), dtype=np.float32)
    picture = picture * 255.0 + noise * np.float32(between(random, 1.0, 3.5))
    return np.asarray(np.clip(np.rint(picture), 0.0, 255.0), dtype=np.uint8)


def in_range(depth: Array) -> Array:
    """Where depth lies within the sensor's range."""
    return np.asarray((depth >= NEAREST_M) & (depth <= FARTHEST_M))


def _coherent(size: tuple[int, int], random: Random, cells: float) -> Array:
    """(H,W) smooth noise in [0,1], about ``cells`` cells across the picture."""
    tile = noise_tile()
    step = cells * 8.0 / size[1]
    start = random.integers(0, 256, 2)
    rows = (np.arange(size[0]) * step + start[0]).astype(np.int64) & 255
    columns = (np.arange(size[1]) * step + start[1]).astype(np.int64) & 255
    return np.asarray(tile[rows[:, None], columns])


def seen_by_sensor(hits: Hits, surface: Surface, random: Random) -> Array:
    """(H,W) bool: where the sensor returns depth."""
    depth = hits.depth
    size = (depth.shape[0], depth.shape[1])
    blotches = _coherent(size, random, 6.0)
    speckle = _coherent(size, random, 24.0)
    seen = np.ones(size, dtype=bool)
    # The projector stands to the right of the camera: what is nearer hides a strip to the left of it from the light.
    disparity = (hits.focal * _BASELINE_M) / depth
    reach = min(int(disparity.max()) + 1, size[1] - 1)
    for shift in range(1, reach + 1):
        seen[:, :-shift] &= disparity[:, shift:] - disparity[:, :-shift] < shift
    jump_across = np.abs(np.diff(depth, axis=1)) > 0.06 * depth[:, 1:]
    jump_down = np.abs(np.diff(depth, axis=0)) > 0.06 * depth[1:]
    ragged = speckle > 0.35
    seen[:, 1:] &= ~(jump_across & ragged[:, 1:])
    seen[:, :-1] &= ~(jump_across & ragged[:, :-1])
    seen[1:] &= ~(jump_down & ragged[1:])
    dark = surface.colour.max(axis=0).reshape(size) < 0.03
    seen &= ~(dark & (blotches > 0.45))
    gloss = surface.gloss.reshape(size)
    seen &= gloss * 0.95 + 0.02 < 1.0 - 0.9 * blotches * gloss
    seen &= surface.facing.reshape(size) > 0.1 + 0.12 * speckle
    # Returns thin out past the rated 4 m, slowly at first.
    seen &= np.clip((depth - 4.0) / 9.0, 0.0, 1.0) < 0.35 + 0.65 * blotches
    top, left = (max(1, round(share * side)) for share, side in zip(_BORDER, size, strict=True))
    if size[0] > 2 * top and size[1] > 2 * left:
        seen[:top] = seen[-top:] = False
        seen[:, :left] = seen[:, -left:] = False
    return seen
