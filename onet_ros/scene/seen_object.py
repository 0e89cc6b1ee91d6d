"""What the camera saw of one object: all that a completion is made from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.scene.free_space import FreeSpace
from onet_ros.scene.plane import SupportPlane
from onet_ros.scene.surroundings import WIDE, nearest_around, table_beside
from onet_ros.scene.unit_frame import UnitFrame, object_unit_frame

# Up in a camera's optical frame (x right, y down, z forward): what an upright camera without a table goes by.
OPTICAL_UP = np.array([0.0, -1.0, 0.0])

BACKGROUND_POINTS = 1024  # as many as the networks were trained with
AROUND_POINTS = 16_384  # so many are looked at to tell what is free: four to a cell of a large object's image


@dataclass(frozen=True)
class SeenObject:
    """What the camera saw of one object, from one viewpoint or from several.

    Attributes:
        points: (N, 3) float64, metres, source frame.
        background: (M, 3) float64, metres, source frame, some of what was seen around it; M may be 0.
        free: what was seen to be empty about it, out of all that was seen around it; None where nothing was.
        viewpoint: (3,) float64, metres, source frame.
        frame: the object's unit frame, for these points, what hides a part of them, and this viewpoint.
        indices: (N,) int64, of the points in their cloud.
        earlier: what was seen of it from other viewpoints while it stood there, source frame; oldest first.
        cell_size: metres, see `PointCloud`.
    """

    points: NDArray[np.float64]
    background: NDArray[np.float64]
    viewpoint: NDArray[np.float64]
    frame: UnitFrame
    indices: NDArray[np.int64]
    free: FreeSpace | None = None
    earlier: tuple[SeenObject, ...] = ()
    cell_size: float = 0.0

    @classmethod
    def on_plane(
        cls,
        points: ArrayLike,
        plane: SupportPlane | None,
        viewpoint: ArrayLike,
        background: ArrayLike | None = None,
        indices: NDArray[np.int64] | None = None,
        min_points: int = 1,
    ) -> SeenObject:
        """An object that stands on a plane; on None, on one under its lowest point in an upright camera's frame.

        Without a background it is taken to stand there alone, so that the table was seen beside it.

        Raises:
            ValueError: points of the wrong shape, fewer than `min_points`, or not finite.
        """
        seen = np.asarray(points, dtype=np.float64)
        if seen.ndim != 2 or seen.shape[1] != 3:
            raise ValueError(f"expected points of shape (N, 3), got {seen.shape}")
        if len(seen) < min_points:
            raise ValueError(f"{len(seen)} points are too few, at least {min_points} are needed")
        if not np.isfinite(seen).all():
            raise ValueError(f"{int((~np.isfinite(seen).all(axis=1)).sum())} of {len(seen)} points are not finite")
        plane = plane or _plane_under(seen, OPTICAL_UP)
        if background is None:
            background = table_beside(seen, plane, viewpoint, AROUND_POINTS, window=WIDE)
        told, free = _around(seen, background, viewpoint)
        return cls(
            points=seen,
            background=told,
            free=free,
            viewpoint=np.asarray(viewpoint, dtype=np.float64),
            frame=object_unit_frame(seen, plane, viewpoint, told),
            indices=np.arange(len(seen)) if indices is None else indices,
        )

    @property
    def views(self) -> tuple[SeenObject, ...]:
        """What was seen from each viewpoint, oldest first; this one is the last."""
        return (*self.earlier, self)

    @property
    def all_points(self) -> NDArray[np.float64]:
        """(N', 3) metres, source frame: seen from any viewpoint."""
        return np.concatenate([view.points for view in self.views]) if self.earlier else self.points

    def whole_frame(self) -> UnitFrame:
        """The unit frame in which the whole object is looked for: around what was seen from all viewpoints."""
        if not self.earlier:
            return self.frame
        return object_unit_frame(self.all_points, self._plane, self.viewpoint, self.background)

    def with_background(self, background: ArrayLike) -> SeenObject:
        """The same with what was seen around it, (M, 3) metres, source frame, which may show that a part is hidden."""
        told, free = _around(self.points, background, self.viewpoint)
        frame = object_unit_frame(self.points, self._plane, self.viewpoint, told)
        return replace(self, background=told, free=free, frame=frame)

    @property
    def _plane(self) -> SupportPlane:
        """What it stands on: the floor of its frame."""
        normal = self.frame.rotation[2]
        return SupportPlane(normal, -float(normal @ self.frame.origin))


def _around(
    points: NDArray[np.float64], background: ArrayLike, viewpoint: ArrayLike
) -> tuple[NDArray[np.float64], FreeSpace | None]:
    """Of what was seen around an object (M, 3): as much as a network is told, and what it says of free space."""
    around = np.asarray(background, dtype=np.float64).reshape(-1, 3)
    if not len(around):
        return around, None
    told = around.take(nearest_around(points, around, viewpoint), axis=0)
    if len(told) > BACKGROUND_POINTS:
        told = np.random.default_rng(0).choice(told, BACKGROUND_POINTS, replace=False)
    return told, FreeSpace.about(points, around, viewpoint)


def _plane_under(points: NDArray[np.float64], up: NDArray[np.float64]) -> SupportPlane:
    """The plane with normal `up` under all but the lowest half per cent of the points."""
    return SupportPlane(normal=up, offset=-float(np.percentile(points @ up, 0.5)))
