"""What one cloud says of an object that was seen before: still there, moved, hidden, gone, or more of it to be seen."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros import columns
from onet_ros.nearest import NearestPoint
from onet_ros.scene.cloud import PointCloud, depth_noise
from onet_ros.scene.seen_object import SeenObject
from onet_ros.scene.surroundings import ENOUGH, pinhole_image, view_axes

SAMPLE = 400  # points of an object that are looked at
KNOWN_POINTS = 4096  # of each view that are kept to compare with
TOLERANCE = 0.005  # metres, beside the sensor's noise: transforms and calibration are never exact
GUESS_TOLERANCE = 0.01  # metres, in addition: how far a guessed surface may be off and still have foretold what is seen
RAYS_PER_CELL = 6  # on average; few cells are empty by chance then
BEHIND = 0.02  # metres, beside the sensor's noise: rays that end so far behind a place went through it


@dataclass(frozen=True)
class RayEvidence:
    """Shares of some points: those that rays came near at all, and of these, those passed by and those hidden.

    Attributes:
        tested: share of the points that lie on a ray of the cloud.
        through: of the tested ones, the share that the camera sees through.
        hidden: of the tested ones, the share that something nearer hides.
    """

    tested: float
    through: float
    hidden: float


class SeenRays:
    """The rays of a cloud, sorted into cells of the camera's image.

    Args:
        cloud: as it came, before anything was cut off.
        viewpoint: (3,) metres, the cloud's frame: where the camera stood.
        seed: of the choice among its points.
    """

    def __init__(self, cloud: PointCloud, viewpoint: ArrayLike, seed: int = 0) -> None:
        self._eye = np.asarray(viewpoint, dtype=np.float32)
        valid = np.flatnonzero(cloud.valid)
        if len(valid) > ENOUGH:
            valid = valid[np.random.default_rng(seed).integers(len(valid), size=ENOUGH)]
        rays = cloud.points.reshape(-1, 3).take(valid, axis=0) - self._eye
        distance = columns.lengths(rays)
        self._axes = view_axes(columns.mean(rays / np.maximum(distance, 1e-6)[:, None]))
        image = pinhole_image(rays, self._axes)
        # Some strays far to the side must not make the cells wide: they fall outside.
        self._low, high = columns.percentiles(image, 1.0, 99.0)
        area = float(np.prod(np.maximum(high - self._low, 1e-3)))
        self._edge = float(np.sqrt(area * RAYS_PER_CELL / max(len(rays), RAYS_PER_CELL)))
        self._shape = tuple(int(cells) for cells in np.ceil((high - self._low) / self._edge) + 1)
        cell, inside = self._cells(image)
        self._nearest = np.full(self._shape[0] * self._shape[1], np.inf, np.float32)
        self._farthest = np.full_like(self._nearest, -np.inf)
        np.minimum.at(self._nearest, cell, distance[inside])
        np.maximum.at(self._farthest, cell, distance[inside])

    def look_at(self, points: NDArray[np.floating]) -> RayEvidence:
        """What the rays say of points (N, 3), metres, the cloud's frame."""
        offsets = np.asarray(points, dtype=np.float32) - self._eye
        cell, inside = self._cells(pinhole_image(offsets, self._axes))
        distance = columns.lengths(columns.rows(offsets, inside))
        nearest, farthest = self._nearest[cell], self._farthest[cell]
        tested = np.isfinite(nearest)
        count = int(tested.sum())
        if not count:
            return RayEvidence(0.0, 0.0, 0.0)
        margin = BEHIND + 3.0 * depth_noise(distance)
        through = int((tested & (nearest > distance + margin)).sum())
        hidden = int((tested & (farthest < distance - margin)).sum())
        return RayEvidence(count / len(points), through / count, hidden / count)

    def _cells(self, image: NDArray[np.float32]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Flat cell of those image points (N, 2) that lie in one, and which these are (N,)."""
        column, row = ((image - self._low) / self._edge).astype(np.int64).T
        inside = columns.in_all(image >= self._low) & (column < self._shape[0]) & (row < self._shape[1])
        return column[inside] * self._shape[1] + row[inside], inside


@dataclass(frozen=True)
class Change:
    """What is new about an object that was seen before.

    Attributes:
        known: share of the points seen now that lie where points had been seen.
        expected: share of them that lie there or on the surface that was completed.
        rays: what the cloud says of the points seen before.
        shift: metres from the middle of what was seen before to the middle of what is seen now; 0 where the two cannot
            be compared.
        angle: radians between the lines of sight now and at the nearest of the earlier viewpoints.
        nearest: number of that view.
    """

    known: float
    expected: float
    rays: RayEvidence
    shift: float
    angle: float
    nearest: int


class KnownShape:
    """What is known of an object: the points seen of it and the surface completed from them.

    Args:
        evidence: what was seen, from all viewpoints.
        surface: (S, 3) metres, same frame: points on the completed surface; none where there is none.
    """

    def __init__(self, evidence: SeenObject, surface: NDArray[np.float64] | None = None) -> None:
        self.evidence, self.surface = evidence, surface
        self.points = np.concatenate([sampled(view.points, KNOWN_POINTS) for view in evidence.views])
        shape = self.points if surface is None else np.concatenate([self.points, surface])
        self.centre = columns.centre(shape)
        self.radius = float(columns.lengths(shape - self.centre).max())

    def distances(self, points: NDArray[np.floating], limit: float = np.inf) -> NDArray[np.float64]:
        """(N,) metres from points (N, 3) to the shape; `limit` where it is farther."""
        return np.minimum(self._to_shape(points, self._to_points(points, limit), limit), limit)

    def change(self, seen: SeenObject, rays: SeenRays, seed: int = 0) -> Change:
        """What is new in what is seen now.

        Args:
            seen: from one viewpoint, the frame of the evidence.
            rays: of the cloud it was seen in.
            seed: of the choice among points.
        """
        points = sampled(seen.points, SAMPLE, seed)
        tolerance = TOLERANCE + 3.0 * depth_noise(columns.lengths(points - seen.viewpoint))
        reach = float(tolerance.max()) + GUESS_TOLERANCE
        # What is farther off is at infinity, not at `reach` itself.
        to_points = self._to_points(points, reach)
        to_shape = self._to_shape(points, to_points, reach)
        angles = [angle_between(view, seen, self.centre) for view in self.evidence.views]
        nearest = int(np.argmin(angles))
        evidence = rays.look_at(sampled(self.points, SAMPLE, seed))
        return Change(
            known=float((to_points <= tolerance).mean()),
            expected=float((to_shape <= tolerance + GUESS_TOLERANCE).mean()),
            rays=evidence,
            shift=self._shift(self.evidence.views[nearest], seen, angles[nearest], evidence),
            angle=angles[nearest],
            nearest=nearest,
        )

    @cached_property
    def _nearest_point(self) -> NearestPoint:
        return NearestPoint(self.points.astype(np.float64, copy=False))

    @cached_property
    def _nearest_of_surface(self) -> NearestPoint | None:
        return None if self.surface is None else NearestPoint(self.surface)

    def _to_points(self, points: NDArray[np.floating], limit: float) -> NDArray[np.float64]:
        """(N,) metres to the points seen, infinite beyond the limit."""
        return self._nearest_point(points.astype(np.float64, copy=False), within=limit)[0]

    def _to_shape(
        self, points: NDArray[np.floating], to_points: NDArray[np.float64], limit: float
    ) -> NDArray[np.float64]:
        """The same to the shape, out of the distances to the points seen."""
        if self._nearest_of_surface is None:
            return to_points
        to_surface = self._nearest_of_surface(points.astype(np.float64, copy=False), within=limit)[0]
        return np.minimum(to_points, to_surface)

    @staticmethod
    def _shift(before: SeenObject, now: SeenObject, angle: float, rays: RayEvidence) -> float:
        """Noise averages out over an object, so its middle tells of motions that no single point does.

        It can be compared where the same side was seen before as is now, with nothing in front of it.
        """
        same_side = angle < np.radians(2.0) and rays.hidden < 0.02
        if not same_side or not 0.9 < len(now.indices) / max(len(before.indices), 1) < 1.1:
            return 0.0
        return float(np.linalg.norm(columns.mean(before.points) - columns.mean(now.points)))


def angle_between(first: SeenObject, second: SeenObject, centre: NDArray[np.float64]) -> float:
    """Radians between two lines of sight to a place (3,), metres."""
    a, b = first.viewpoint - centre, second.viewpoint - centre
    cosine = a @ b / max(float(np.linalg.norm(a) * np.linalg.norm(b)), 1e-12)
    return float(np.arccos(np.clip(cosine, -1.0, 1.0)))


def sampled(points: NDArray[np.floating], count: int, seed: int = 0) -> NDArray[np.floating]:
    """At most `count` of the points (N, 3), at random."""
    if len(points) <= count:
        return points
    return points[np.random.default_rng(seed).choice(len(points), count, replace=False)]
