"""Clouds as range images: what the camera sees next to what."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.scene.cloud import PointCloud, depth_noise

_OVERSIZE = 1.3  # pixel edge over the mean spacing of the rays, so that few pixels of a filled view stay empty
_MAX_PIXELS = 4_000_000  # of the image of a cloud without one


@dataclass(frozen=True, eq=False)
class RangeImage:
    """Points arranged as the camera saw them.

    Attributes:
        points: (H, W, 3) float32, metres, relative to the viewpoint; NaN where a pixel is empty.
        distance: (H, W) float32, metres from the viewpoint; NaN where a pixel is empty.
        pixel_angle: radians between the rays of neighbouring pixels.
        pixels: (N,) int64, flat pixel of each point of the flat cloud, -1 for a missing or hidden point; None when
            point i is pixel i.
    """

    points: NDArray[np.float32]
    distance: NDArray[np.float32]
    pixel_angle: float
    pixels: NDArray[np.int64] | None

    @classmethod
    def from_cloud(cls, cloud: PointCloud, viewpoint: ArrayLike = (0.0, 0.0, 0.0)) -> RangeImage:
        """The cloud's own image; for a cloud without one, the view from `viewpoint` (3,), metres, the cloud's frame."""
        points = cloud.points - np.asarray(viewpoint, dtype=np.float32)
        if cloud.organized:
            distance = _norm(points)
            return cls(points, distance, _pixel_angle(points, distance), None)
        return _projected(points[0])


def _norm(points: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.sqrt(np.einsum("...c,...c->...", points, points))


def _pixel_angle(points: NDArray[np.float32], distance: NDArray[np.float32]) -> float:
    """Median angle between the rays of horizontal neighbours, from every eighth row."""
    rays = points[::8] / distance[::8, :, None]
    step = _norm(np.diff(rays, axis=1))
    step = step[step > 0]  # also drops NaN
    # A cloud without two neighbours anywhere has no spacing; any small angle leaves its points unconnected.
    return float(np.median(step)) if step.size else 1e-3


def _projected(points: NDArray[np.float32]) -> RangeImage:
    """Points (N, 3) relative to the viewpoint, onto a plane across the viewing direction; the nearest point wins."""
    distance = _norm(points)
    valid = np.flatnonzero(distance > 0)
    axis, sign = _view_axis(points[valid], distance[valid])
    # An image plane cannot hold what lies beside or behind the camera.
    valid = valid[points[valid, axis] * sign > 0.1 * distance[valid]]
    seen, distance = points[valid], distance[valid]
    depth = sign * seen[:, axis]
    u, v = (seen[:, other] / depth for other in range(3) if other != axis)
    left, top = float(u.min()), float(v.min())
    area = (float(u.max()) - left) * (float(v.max()) - top)
    # A few stray points far from the rest must not make the image huge.
    spacing = max(_OVERSIZE * _mean_spacing(u, v), np.sqrt(area / _MAX_PIXELS))
    column, row = ((u - left) / spacing).astype(np.int64), ((v - top) / spacing).astype(np.int64)
    height, width = int(row.max()) + 1, int(column.max()) + 1
    pixel = row * width + column

    # The farthest first, so that the nearest overwrites it; as 16 bit numbers, which sort ten times faster.
    rank = (distance * (65535 / float(distance.max()))).astype(np.uint16)
    order = np.argsort(65535 - rank, kind="stable")
    image = np.full((height, width, 3), np.nan, np.float32)
    image.reshape(-1, 3)[pixel[order]] = seen[order]
    shown = _norm(image)
    # Several points fall into one pixel. Those that lie clearly behind the one that is shown belong to something else.
    hidden = distance - shown.ravel()[pixel] > spacing * distance + 3.0 * np.sqrt(2.0) * depth_noise(distance)
    pixels = np.full(len(points), -1, np.int64)
    pixels[valid] = np.where(hidden, -1, pixel)
    return RangeImage(image, shown, spacing, pixels)


def _view_axis(points: NDArray[np.float32], distance: NDArray[np.float32]) -> tuple[int, float]:
    """The axis of the frame, and its sign, along which the camera looks: its image is aligned with one."""
    some = slice(None, None, max(1, len(points) // 5000))
    mean = (points[some] / distance[some, None]).mean(axis=0)
    axis = int(np.abs(mean).argmax())
    return axis, 1.0 if mean[axis] >= 0 else -1.0


def _mean_spacing(u: NDArray[np.float32], v: NDArray[np.float32]) -> float:
    """Mean spacing of image coordinates (N,): the root of the occupied area per point."""
    some = slice(None, None, max(1, len(u) // 20_000))
    (left, right), (top, bottom) = np.percentile(u[some], [0.5, 99.5]), np.percentile(v[some], [0.5, 99.5])
    inside = (u >= left) & (u <= right) & (v >= top) & (v <= bottom)
    count = int(np.count_nonzero(inside))
    # Cells of some thirty points: wide enough that few are empty by chance, narrow enough to follow the outline.
    cells = int(np.clip(np.sqrt(count / 30), 4, 200))
    edge = max(right - left, bottom - top, 1e-9) / cells
    column, row = ((u[inside] - left) / edge).astype(np.int64), ((v[inside] - top) / edge).astype(np.int64)
    occupied = np.count_nonzero(np.bincount(row * (cells + 1) + column))
    return float(edge * np.sqrt(occupied / max(count, 1)))
