"""Depth as points in space: what a depth map looks like from anywhere but the camera."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from depthattn.viz.axes import REFERENCE_COLOUR, new_figure, style_axes
from depthattn.viz.colours import ArrayLike, plane

# Of the points, so that one stray prediction does not shrink the room to a corner of its axes.
_SHOWN = (0.5, 99.5)
_MARGIN = 0.04
_POINTS_PER_INCH = 72.0
# A point is drawn wider than its pixel is at that depth, or surfaces seen at an angle show gaps.
_OVERLAP = 1.8


class View(NamedTuple):
    """A direction of view, without perspective: (0, 0) is that of the camera, (0, 90) is from above.

    Attributes:
        yaw: degrees by which the line of sight turns to the right, which takes the viewer to the left of the points.
        pitch: degrees by which the viewer rises.
    """

    yaw: float
    pitch: float


def back_project(
    depth: ArrayLike, *, focal: float, centre: tuple[float, float] | None = None
) -> npt.NDArray[np.float64]:
    r"""Compute the point in space of each pixel, by the pinhole model.

    The pixel in column u and row v, with its centre at (u + 0.5, v + 0.5) and depth z, lies at

    .. math:: x = (u + 0.5 - c_x) z / f, \qquad y = (v + 0.5 - c_y) z / f .

    Args:
        depth: metres along the optical axis, shape (H, W) or (1, H, W); 0 where missing.
        focal: focal length in pixels of this map: that of the camera times the factor by which it was resized.
        centre: (c_x, c_y), where the optical axis meets the image, in pixels; its centre by default.

    Returns:
        x to the right, y down and z forward in metres, (H, W, 3), float64; NaN at pixels with no depth.

    Raises:
        ValueError: a shape that does not fit, or a focal length not above 0.

    Example:
        >>> import numpy as np
        >>> from depthattn.viz import back_project
        >>> back_project(np.array([[2.0, 2.0, 0.0]]), focal=4.0)[0].tolist()
        [[-0.5, 0.0, 2.0], [0.0, 0.0, 2.0], [nan, nan, nan]]
    """
    if not 0 < focal < math.inf:
        raise ValueError(f"back_project: expected focal > 0, got {focal}")
    z = plane(depth, "back_project", "depth").astype(np.float64)
    height, width = z.shape
    across, down = (width / 2, height / 2) if centre is None else centre
    z = np.where(np.isfinite(z) & (z > 0), z, np.nan)
    x = (np.arange(width) + 0.5 - across) * z / focal
    y = (np.arange(height)[:, None] + 0.5 - down) * z / focal
    return np.stack([x, y, z], axis=-1)


def seen_from(points: npt.NDArray[np.float64], view: View) -> npt.NDArray[np.float64]:
    r"""Project points along ``view``, without perspective.

    With yaw :math:`\psi`, pitch :math:`\theta` and :math:`w = x \sin\psi + z \cos\psi`:

    .. math:: right = x \cos\psi - z \sin\psi, \quad up = w \sin\theta - y \cos\theta,
        \quad away = w \cos\theta + y \sin\theta .

    Args:
        points: x to the right, y down and z forward, (..., 3).
        view: the direction.

    Returns:
        Right, up and away from the viewer, (..., 3), in the unit of the points.

    Example:
        >>> import numpy as np
        >>> from depthattn.viz import View, seen_from
        >>> seen_from(np.array([1.0, 2.0, 3.0]), View(yaw=0, pitch=90)).round(6).tolist()
        [1.0, 3.0, 2.0]
    """
    x, y, z = np.moveaxis(np.asarray(points, dtype=np.float64), -1, 0)
    yaw, pitch = math.radians(view.yaw), math.radians(view.pitch)
    forward = x * math.sin(yaw) + z * math.cos(yaw)
    return np.stack(
        [
            x * math.cos(yaw) - z * math.sin(yaw),
            forward * math.sin(pitch) - y * math.cos(pitch),
            forward * math.cos(pitch) + y * math.sin(pitch),
        ],
        axis=-1,
    )


def plot_point_clouds(
    image: ArrayLike,
    depths: Mapping[str, ArrayLike],
    *,
    focal: float,
    view: View,
    width: float = 5.0,
) -> Any:
    """Draw depth maps of one image as point clouds in its colours, one below the other at one scale.

    Args:
        image: RGB in [0, 1], shape (3, H, W).
        depths: depth map in metres by title, each (H, W) or (1, H, W); pixels with no depth are left out.
        focal: focal length in pixels, as in :func:`back_project`.
        view: from where to look.
        width: of the figure in inches; its height follows from the clouds.

    Returns:
        A ``matplotlib.figure.Figure`` whose points are pixels also in a vector file; nothing is registered with
        pyplot.

    Raises:
        ValueError: no depth map, shapes that do not fit, or no pixel with depth in any.

    Example:
        >>> import torch
        >>> from depthattn.viz import View, plot_point_clouds
        >>> image, depths = torch.rand(3, 12, 16), {"true depth": torch.full((12, 16), 3.0)}
        >>> figure = plot_point_clouds(image, depths, focal=13.0, view=View(30, 20))
        >>> figure.axes[0].get_title("left")
        'true depth'
    """
    pixels = image.detach().float().cpu().numpy() if isinstance(image, torch.Tensor) else np.asarray(image)
    colours = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    if not depths or colours.ndim != 3 or colours.shape[-1] != 3:
        raise ValueError(
            f"plot_point_clouds: expected an image (3, H, W) and depth maps, got {pixels.shape} and {len(depths)} maps"
        )
    clouds = {title: back_project(depth, focal=focal) for title, depth in depths.items()}
    for title, cloud in clouds.items():
        if cloud.shape != colours.shape:
            raise ValueError(
                f"plot_point_clouds: expected depths of the image's size {colours.shape[:2]}, "
                f"got {cloud.shape[:2]} for {title!r}"
            )
    valid = {title: np.isfinite(cloud[..., 2]) for title, cloud in clouds.items()}
    placed = {title: seen_from(clouds[title][valid[title]], view) for title in clouds}
    low, high = _limits(np.concatenate(list(placed.values())))
    span = high - low
    panel = (width - 0.7) * span[1] / span[0]
    figure = new_figure((width, len(clouds) * (panel + 0.5) + 0.3), "plot_point_clouds")
    for axes, title in zip(np.atleast_1d(figure.subplots(len(clouds), 1, sharex=True)), clouds, strict=True):
        order = np.argsort(-placed[title][:, 2], kind="stable")
        right, up, _ = placed[title][order].T
        pixel = clouds[title][valid[title]][order][:, 2] / focal
        side = pixel * _OVERLAP * (width - 0.7) * _POINTS_PER_INCH / span[0]
        axes.scatter(right, up, side**2, colours[valid[title]][order], linewidths=0, rasterized=True)
        axes.plot(*seen_from(np.zeros(3), view)[:2], marker="^", color=REFERENCE_COLOUR, markersize=7, clip_on=False)
        style_axes(axes, title=title, xlabel="m", ylabel="m")
        axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal")
        axes.label_outer()
    return figure


def _limits(points: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Corners of the screen that shows the points and the camera, with a margin."""
    if not len(points):
        raise ValueError("plot_point_clouds: expected pixels with depth, got none")
    low, high = np.percentile(points[:, :2], _SHOWN, axis=0)
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    margin = _MARGIN * (high - low).max() + 1e-6
    return low - margin, high + margin
