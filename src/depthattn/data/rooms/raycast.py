"""Depth and box number of every pixel: rays against turned boxes, each tested only where it can be seen."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from depthattn.data.rooms.scene import Array, Point

# Focal length over width and over height of the Kinect's colour camera (519 px at 640x480).
_FOCAL_PER_WIDTH = 519.0 / 640.0
_FOCAL_PER_HEIGHT = 519.0 / 480.0
_NEAR = 0.05
# Added to a ray's part along an axis, it keeps zero from dividing and leaves every other number as it is.
_PARALLEL = np.float32(1e-30)
_CORNERS = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], dtype=np.float32)


class Camera(NamedTuple):
    """Place in metres; yaw, pitch and roll in radians."""

    place: Point
    yaw: float
    pitch: float
    roll: float

    def axes(self) -> Array:
        """(3,3), rows right, up and forward in the room's axes."""
        (cy, sy), (cp, sp), (cr, sr) = ((math.cos(a), math.sin(a)) for a in (self.yaw, self.pitch, self.roll))
        forward = np.array([sy * cp, sp, cy * cp])
        level_right = np.array([cy, 0.0, -sy])
        level_up = np.array([-sy * sp, cp, -cy * sp])
        return np.stack([cr * level_right + sr * level_up, cr * level_up - sr * level_right, forward]).astype(
            np.float32
        )


class Hits(NamedTuple):
    """Rays (3,H,W) per metre of depth, depth (H,W) in metres, box row (H,W), focal length in pixels."""

    rays: Array
    depth: Array
    box: Array
    focal: float


def focal_length(size: tuple[int, int]) -> float:
    """In pixels, such that the view is at most the Kinect's in both directions."""
    return max(size[0] * _FOCAL_PER_HEIGHT, size[1] * _FOCAL_PER_WIDTH)


def _rays(camera: Camera, size: tuple[int, int]) -> tuple[Array, float]:
    height, width = size
    focal = focal_length(size)
    columns = (np.arange(width, dtype=np.float32) + 0.5 - width / 2) / focal
    rows = (height / 2 - np.arange(height, dtype=np.float32) - 0.5) / focal
    axes = camera.axes()
    rays = np.empty((3, height, width), dtype=np.float32)
    for axis in range(3):
        np.add.outer(rows * axes[1, axis] + axes[2, axis], columns * axes[0, axis], out=rays[axis])
    # No ray is quite parallel to a wall, so that no division is by zero.
    rays += _PARALLEL
    return rays, focal


def _room_depth(room: Array, origin: Array, rays: Array) -> Array:
    """Depth of the room's own faces."""
    center, half = (room[:3] - origin)[:, None, None], room[3:6, None, None]
    return np.asarray(((center + np.copysign(half, rays)) / rays).min(axis=0))


def cast(boxes: Array, camera: Camera, size: tuple[int, int]) -> Hits:
    """Nearest box of each pixel. Row 0 of ``boxes`` is the room, which is seen from inside and never missed."""
    rays, focal = _rays(camera, size)
    origin = np.array(camera.place, dtype=np.float32)
    depth = _room_depth(boxes[0], origin, rays)
    box = np.zeros(size, dtype=np.int64)
    for number, window in _visible(boxes, camera.axes(), origin, size, focal):
        near = _near_face(boxes[number], origin, rays[(slice(None), *window)])
        seen = depth[window]
        hit = near < seen
        seen[hit] = near[hit]
        box[window][hit] = number
    return Hits(rays, depth, box, focal)


def glance(boxes: Array, camera: Camera, size: tuple[int, int]) -> tuple[Array, Array]:
    """Depth and box of each pixel as :func:`cast` gives, all boxes at once: faster for a handful of pixels."""
    rays, _ = _rays(camera, size)
    origin = np.array(camera.place, dtype=np.float32)
    near = np.empty((len(boxes), *size), dtype=np.float32)
    near[0] = _room_depth(boxes[0], origin, rays)
    near[1:] = _near_face(boxes[1:].T[:, :, None, None], origin[:, None, None, None], rays)
    box = near.argmin(axis=0)
    return near.min(axis=0), box


def _near_face(box: Array, origin: Array, rays: Array) -> Array:
    """Depth at which rays enter a box, infinite where they miss it."""
    cos, sin = box[6], box[7]
    x, y, z = origin - box[:3]
    place = (cos * x - sin * z, y, sin * x + cos * z)
    turned = (cos * rays[0] - sin * rays[2], rays[1], sin * rays[0] + cos * rays[2])
    enter, leave = _slab(turned[0], place[0], box[3])
    for axis in (1, 2):
        start, end = _slab(turned[axis], place[axis], box[3 + axis])
        enter, leave = np.maximum(enter, start), np.minimum(leave, end)
    return np.where((enter < leave) & (enter > 0.0), enter, np.float32(np.inf))


def _slab(rays: Array, place: Array, half: Array) -> tuple[Array, Array]:
    """Depths at which rays enter and leave the space between two opposite faces."""
    inverse = 1.0 / (rays + _PARALLEL)
    middle = inverse * -place
    reach = np.abs(inverse) * half
    return middle - reach, middle + reach


def _visible(
    boxes: Array, axes: Array, origin: Array, size: tuple[int, int], focal: float
) -> list[tuple[int, tuple[slice, slice]]]:
    """Rows of the boxes in view, nearest first, with the pixel window that bounds each."""
    height, width = size
    corners = _CORNERS * boxes[1:, None, 3:6]
    cos, sin = boxes[1:, None, 6], boxes[1:, None, 7]
    x = cos * corners[..., 0] + sin * corners[..., 2]
    z = cos * corners[..., 2] - sin * corners[..., 0]
    placed = np.stack([x, corners[..., 1], z], axis=-1) + (boxes[1:, None, :3] - origin)
    seen = placed @ axes.T
    depth = seen[..., 2]
    ahead = depth.max(axis=1) > _NEAR
    whole = depth.min(axis=1) <= _NEAR
    scale = focal / np.maximum(depth, _NEAR)
    column = seen[..., 0] * scale + width / 2
    row = height / 2 - seen[..., 1] * scale
    left = np.where(whole, 0, np.clip(np.floor(column.min(axis=1)), 0, width)).astype(int)
    right = np.where(whole, width, np.clip(np.ceil(column.max(axis=1)) + 1, 0, width)).astype(int)
    top = np.where(whole, 0, np.clip(np.floor(row.min(axis=1)), 0, height)).astype(int)
    bottom = np.where(whole, height, np.clip(np.ceil(row.max(axis=1)) + 1, 0, height)).astype(int)
    inside = np.flatnonzero(ahead & (right > left) & (bottom > top))
    return [(int(i) + 1, (slice(top[i], bottom[i]), slice(left[i], right[i]))) for i in inside]
