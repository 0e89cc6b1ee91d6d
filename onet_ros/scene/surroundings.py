"""What the camera saw around an object: evidence of where the object is not."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.scene.cloud import PointCloud

WINDOW = 1.2  # side of the window over the longer side of the object's image
ENOUGH = 60_000  # points of a cloud that are looked at


def background_points(
    cloud: PointCloud, indices: NDArray[np.int64], viewpoint: ArrayLike, count: int, seed: int = 0
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

    Returns:
        (N, 3) float32, metres, the cloud's frame, N <= count.
    """
    return Surroundings(cloud, seed).around(indices, viewpoint, count)


class Surroundings:
    """`background_points` for the objects of one cloud, which look at the same choice of its points.

    Args:
        cloud: with the objects in it.
        seed: of the choices.
    """

    def __init__(self, cloud: PointCloud, seed: int = 0) -> None:
        self._flat = cloud.points.reshape(-1, 3)
        self._seed = seed
        valid = np.flatnonzero(cloud.valid)
        if len(valid) > ENOUGH:
            valid = valid[np.random.default_rng(seed).integers(len(valid), size=ENOUGH)]
        self._candidates, self._points = valid, self._flat[valid]
        self._own = np.zeros(len(self._flat), dtype=bool)

    def around(self, indices: NDArray[np.int64], viewpoint: ArrayLike, count: int) -> NDArray[np.float32]:
        """Arguments and result as in `background_points`."""
        eye = np.asarray(viewpoint, dtype=np.float32)
        own_points = self._flat[indices]
        axes = _view_axes(own_points.mean(axis=0) - eye)
        own = _image(own_points - eye, axes)
        middle = (own.min(axis=0) + own.max(axis=0)) / 2.0
        half = WINDOW * float((own.max(axis=0) - own.min(axis=0)).max()) / 2.0
        offset = np.abs(_image(self._points - eye, axes) - middle)
        inside = self._candidates[(offset[:, 0] < half) & (offset[:, 1] < half)]
        self._own[indices] = True
        inside = inside[~self._own[inside]]
        self._own[indices] = False
        if len(inside) > count:
            inside = np.random.default_rng(self._seed).choice(inside, count, replace=False)
        return self._flat[inside]


def _view_axes(forward: NDArray[np.floating]) -> NDArray[np.float32]:
    """(3, 3) rows: two axes across the line of sight, and the line of sight."""
    forward = forward / np.linalg.norm(forward)
    across = np.cross(forward, np.eye(3)[np.argmin(np.abs(forward))])
    across /= np.linalg.norm(across)
    return np.stack([across, np.cross(forward, across), forward]).astype(np.float32)


def _image(offsets: NDArray[np.float32], axes: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, 3) offsets from the eye -> (N, 2) pinhole coordinates; far outside for what lies behind the eye."""
    along = offsets @ axes.T
    depth = np.where(along[:, 2:] > 1e-3, along[:, 2:], np.float32(1e-6))
    return (along[:, :2] / depth).astype(np.float32)
