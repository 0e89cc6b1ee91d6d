"""What the camera saw around an object: evidence of where the object is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from onet_ros import columns
from onet_ros.cpu_kernels import compiled
from onet_ros.scene.cloud import PointCloud
from onet_ros.scene.plane import SupportPlane

WINDOW = 1.2  # side of the window over the longer side of the object's image: what networks were trained with
WIDE = 1.8  # likewise, of the window in which free space matters: few objects are completed to more than that
ENOUGH = 60_000  # points of a cloud that tell where an object went
SILHOUETTE_CELLS = (16, 64)  # fewest and most along an edge of the window in which an outline is drawn
LOST_CELLS = 2  # depth cameras lose pixels along an outline, and have gaps in it: so many cells are given up


def background_points(
    cloud: PointCloud,
    indices: NDArray[np.int64],
    viewpoint: ArrayLike,
    count: int,
    seed: int = 0,
    window: float = WINDOW,
) -> NDArray[np.float32]:
    """Points of the cloud seen beside, behind or in front of an object, in a square window about its image.

    The camera looked through to each of them, so that the rays up to them are free. Works for organized and unorganized
    clouds alike.

    Args:
        cloud: with the object's points in it.
        indices: (M,) which points, of the flattened cloud, are the object's own.
        viewpoint: (3,) metres, the cloud's frame.
        count: at most so many are returned.
        seed: of the choice among them.
        window: side of the window over the longer side of the object's image.

    Returns:
        (N, 3) float32, metres, the cloud's frame, N <= count.
    """
    return Surroundings(cloud, seed).around(indices, viewpoint, count, window)


class Surroundings:
    """`background_points` for the objects of one cloud, seen from one place.

    Args:
        cloud: with the objects in it.
        seed: of the choices.
    """

    def __init__(self, cloud: PointCloud, seed: int = 0) -> None:
        self._flat = np.ascontiguousarray(cloud.points.reshape(-1, 3))
        self._seed = seed
        self._others = cloud.valid.ravel().copy()

    def around(
        self, indices: NDArray[np.int64], viewpoint: ArrayLike, count: int, window: float = WIDE
    ) -> NDArray[np.float32]:
        """Arguments and result as in `background_points`."""
        eye = np.asarray(viewpoint, dtype=np.float32)
        own_points = self._flat.take(indices, axis=0)
        axes = view_axes(columns.mean(own_points) - eye)
        middle, half = _window(pinhole_image(own_points - eye, axes), window)
        own = self._others.take(indices)
        self._others[indices] = False
        inside = _in_window(self._flat, self._others, eye, axes, middle, half)
        self._others[indices] = own
        if len(inside) > count:
            inside = np.random.default_rng(self._seed).choice(inside, count, replace=False)
        return self._flat.take(inside, axis=0)


@compiled
def _in_window(
    points: NDArray[np.float32],
    asked: NDArray[np.bool_],
    eye: NDArray[np.float32],
    axes: NDArray[np.float32],
    middle: NDArray[np.float32],
    half: float,
) -> NDArray[np.int64]:
    """Numbers of those points asked about that lie in a square window of the image, in front of the eye."""
    found, count = np.empty(len(points), np.int64), 0
    for i in range(len(points)):
        if not asked[i]:
            continue
        x, y, z = points[i, 0] - eye[0], points[i, 1] - eye[1], points[i, 2] - eye[2]
        depth = x * axes[2, 0] + y * axes[2, 1] + z * axes[2, 2]
        if not depth > 1e-3:
            continue
        across = x * axes[0, 0] + y * axes[0, 1] + z * axes[0, 2]
        if abs(across - middle[0] * depth) < half * depth:
            down = x * axes[1, 0] + y * axes[1, 1] + z * axes[1, 2]
            if abs(down - middle[1] * depth) < half * depth:
                found[count] = i
                count += 1
    return found[:count].copy()


def table_beside(
    points: ArrayLike,
    plane: SupportPlane,
    viewpoint: ArrayLike,
    count: int,
    seed: int = 0,
    window: float = WINDOW,
) -> NDArray[np.float64]:
    """What the camera saw around an object that stands alone on its table: the table, beside the object's outline.

    For objects of which nothing but their own points is left. Where something hid a part of the object, this would
    declare the hidden part free.

    Args:
        points: (N, 3) metres, any frame, of the object.
        plane: the table, same frame.
        viewpoint: (3,) metres, same frame.
        count: at most so many are returned.
        seed: of the choice among them.
        window: side of the window over the longer side of the object's image.

    Returns:
        (M, 3) metres, same frame, M <= count; none where no ray beside the object meets the table.
    """
    eye, own_points = np.asarray(viewpoint, dtype=np.float64), np.asarray(points, dtype=np.float64)
    axes = view_axes(columns.mean(own_points) - eye).astype(np.float64)
    own = pinhole_image((own_points - eye).astype(np.float32), axes.astype(np.float32))
    middle, half = _window(own, window)
    if half == 0.0:
        return np.zeros((0, 3))
    cells = int(window / WINDOW * np.clip(np.sqrt(len(own)), *SILHOUETTE_CELLS))
    column, row = np.clip(((own - middle) / half + 1.0) * 0.5 * cells, 0, cells - 1).astype(int).T
    outline = np.zeros((cells, cells), dtype=bool)
    outline[row, column] = True
    structure = np.ones((2 * LOST_CELLS + 1, 2 * LOST_CELLS + 1), dtype=bool)
    row, column = np.nonzero(~ndimage.binary_dilation(outline, structure))
    across = (np.stack([column, row], axis=1) + 0.5) / cells * 2.0 - 1.0
    rays = np.column_stack([across * half + middle, np.ones(len(row))]) @ axes
    descent = -(rays @ plane.normal)
    rays, descent = rays[descent > 1e-6], descent[descent > 1e-6]
    reach = float(plane.height(eye[None])[0]) / descent
    table = eye + rays[reach > 0.0] * reach[reach > 0.0, None]
    return table if len(table) <= count else np.random.default_rng(seed).choice(table, count, replace=False)


def nearest_around(points: ArrayLike, around: ArrayLike, viewpoint: ArrayLike) -> NDArray[np.int64]:
    """(K,) numbers of those points around an object (M, 3) that lie in the window that networks were trained with.

    Args:
        points: (N, 3) metres, of the object; viewpoint: (3,); all in one frame.
    """
    eye, own = np.asarray(viewpoint, dtype=np.float32), np.asarray(points, dtype=np.float32)
    others = np.ascontiguousarray(around, dtype=np.float32)
    axes = view_axes(columns.mean(own) - eye)
    middle, half = _window(pinhole_image(own - eye, axes), WINDOW)
    return _in_window(others, np.ones(len(others), dtype=np.bool_), eye, axes, middle, half)


def _window(own: NDArray[np.floating], window: float) -> tuple[NDArray[np.floating], float]:
    """Middle (2,) and half the side of the square window about the image (N, 2) of an object."""
    low, high = columns.bounds(own)
    return (low + high) / 2.0, window * float((high - low).max()) / 2.0


def view_axes(forward: NDArray[np.floating]) -> NDArray[np.float32]:
    """(3, 3) rows: two axes across the line of sight, and the line of sight."""
    axes = np.empty((3, 3), dtype=np.float32)
    _fill_axes(np.asarray(forward, dtype=np.float64), axes)
    return axes


def pinhole_image(offsets: NDArray[np.float32], axes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 3) offsets from the eye -> (N, 2) pinhole coordinates; far outside for what lies behind the eye."""
    image = np.empty((len(offsets), 2), dtype=np.float32)
    _project(np.ascontiguousarray(offsets), np.ascontiguousarray(axes), image)
    return image


@compiled
def _fill_axes(forward: NDArray[np.float64], axes: NDArray[np.float32]) -> None:
    forward = forward / np.sqrt((forward**2).sum())
    least = np.abs(forward).argmin()
    one, other = (least + 1) % 3, (least + 2) % 3  # across: forward x the axis that it is farthest from
    across = np.zeros(3)
    length = np.sqrt(forward[one] ** 2 + forward[other] ** 2)
    across[one], across[other] = forward[other] / length, -forward[one] / length
    for axis in range(3):
        second, third = (axis + 1) % 3, (axis + 2) % 3
        axes[0, axis], axes[2, axis] = across[axis], forward[axis]
        axes[1, axis] = forward[second] * across[third] - forward[third] * across[second]


@compiled
def _project(offsets: NDArray[np.float32], axes: NDArray[np.float32], image: NDArray[np.float32]) -> None:
    for i in range(len(offsets)):
        x, y, z = offsets[i]
        depth = x * axes[2, 0] + y * axes[2, 1] + z * axes[2, 2]
        if not depth > np.float32(1e-3):
            depth = np.float32(1e-6)
        for axis in range(2):
            image[i, axis] = (x * axes[axis, 0] + y * axes[axis, 1] + z * axes[axis, 2]) / depth
