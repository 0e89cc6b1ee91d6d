"""The object's unit frame: where a learned field needs to know neither where the camera stood nor how large things are.

z is up, the normal of the support plane. x points horizontally from the object to the camera, so that the seen side is
always on the same side. The origin lies on the support plane, under the middle of what was seen; one unit is the
longest seen extent times a margin, so that the hidden part fits in `UNIT_BOX`. Where something nearer to the camera
cuts the object off at its left or right, it may go on behind: the extent is taken to be longer on that side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros import columns
from onet_ros.scene.plane import SupportPlane

# The box a field is asked in, in unit-frame coordinates: lower and upper corner. In front of the seen points (+x) there
# is next to nothing; behind them (-x) lies what the camera did not see. The floor is a little under the table so that a
# plane that was fitted a few millimetres too high cuts nothing off.
UNIT_BOX = (np.array([-0.70, -0.54, -0.04]), np.array([0.48, 0.54, 1.04]))

MARGIN = 1.1  # one unit over the longest seen extent
TRIM = 0.5  # per cent of points at either end that do not count for the extent: flying pixels
MINIMUM_EXTENT = 0.005  # metres; keeps the frame finite for a handful of points on one spot

HIDDEN_EXTENT = 0.4  # of the longest seen extent: what is added on a side on which the object is cut off
_EDGE = 0.12  # of the width of the object's image: as near to its end lies what may hide the rest
_NEARER = 0.012  # metres, by which that is nearer to the camera
_ENOUGH = 4  # points that say so; with fewer nothing is known


@dataclass(frozen=True)
class UnitFrame:
    """Similarity between a metric source frame and the unit frame: x_unit = rotation (x_source - origin) / scale.

    Attributes:
        rotation: (3, 3) float64, R_unit_source; its rows are the unit frame's axes in the source frame.
        origin: (3,) float64, metres, the unit frame's origin in the source frame.
        scale: metres per unit.
    """

    rotation: NDArray[np.float64]
    origin: NDArray[np.float64]
    scale: float

    def to_unit(self, points: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) metres in the source frame -> (..., 3) in the unit frame."""
        return (np.asarray(points, dtype=np.float64) - self.origin) @ self.rotation.T / self.scale

    def from_unit(self, points: ArrayLike) -> NDArray[np.float64]:
        """(..., 3) in the unit frame -> (..., 3) metres in the source frame."""
        return np.asarray(points, dtype=np.float64) * self.scale @ self.rotation + self.origin

    def matrix_to(self, other: UnitFrame) -> NDArray[np.float64]:
        """(3, 4) matrix and translation from this unit frame to another one of the same source frame."""
        matrix = other.rotation @ self.rotation.T * (self.scale / other.scale)
        return np.column_stack([matrix, other.rotation @ (self.origin - other.origin) / other.scale])


def to_unit_frames(frames: Sequence[UnitFrame], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """`UnitFrame.to_unit` of B frames at once: (B, N, 3) metres in the source frame -> (B, N, 3), each in its own."""
    rotations, origins = np.stack([one.rotation for one in frames]), np.stack([one.origin for one in frames])
    scales = np.array([one.scale for one in frames])
    return np.asarray((points - origins[:, None]) @ rotations.transpose(0, 2, 1) / scales[:, None, None])


def object_unit_frame(
    points: ArrayLike,
    plane: SupportPlane,
    viewpoint: ArrayLike = (0.0, 0.0, 0.0),
    background: ArrayLike | None = None,
) -> UnitFrame:
    """The unit frame of one object.

    Args:
        points: (N, 3) float, metres, source frame: what the camera saw of the object; finite, N >= 1.
        plane: the support plane in the source frame, normal up.
        viewpoint: (3,) metres, source frame: where the camera stood.
        background: (M, 3) metres, source frame: what the camera saw around the object. None or none at all: nothing
            hides a part of it.

    Raises:
        ValueError: points are not (N, 3), empty or not finite.
    """
    seen = np.asarray(points, dtype=np.float64)
    if seen.ndim != 2 or seen.shape[1] != 3 or len(seen) == 0:
        raise ValueError(f"expected points of shape (N, 3) with N >= 1, got {seen.shape}")
    if not np.isfinite(seen).all():
        raise ValueError(f"{int((~np.isfinite(seen).all(axis=1)).sum())} of {len(seen)} points are not finite")
    eye = np.asarray(viewpoint, dtype=np.float64)
    rotation = _axes_towards_camera(columns.mean(seen), plane.normal, eye)
    along_axes = seen @ rotation.T
    low, high = columns.percentiles(along_axes, TRIM, 100.0 - TRIM)
    floor = -plane.offset  # n.x + d = 0 on the plane, and z of the axes is n
    extent = max(float((high - low)[:2].max()), float(high[2] - floor), MINIMUM_EXTENT)
    around = np.zeros((0, 3)) if background is None else np.asarray(background, dtype=np.float64)
    if len(around):
        hidden = _cut_off(seen - eye, around - eye, rotation[1])
        low[1] -= HIDDEN_EXTENT * extent * hidden[0]
        high[1] += HIDDEN_EXTENT * extent * hidden[1]
        extent = max(extent, float(high[1] - low[1]))
    middle = (low + high) / 2.0
    origin = rotation.T @ np.array([middle[0], middle[1], floor])
    return UnitFrame(rotation=rotation, origin=origin, scale=extent * MARGIN)


def _cut_off(seen: NDArray[np.float64], around: NDArray[np.float64], across: NDArray[np.float64]) -> tuple[bool, bool]:
    """Whether something nearer to the camera borders on the object where its image ends, against `across` and along it.

    Args:
        seen, around: (N, 3) and (M, 3) metres from the viewpoint: the object's points and those around it.
        across: (3,) unit vector, horizontal and across the line of sight.
    """
    forward = columns.mean(seen)
    forward = forward - (forward @ across) * across
    forward = forward / max(float(np.linalg.norm(forward)), 1e-9)
    axes = np.stack([across, columns.cross(forward, across), forward])

    def image(offsets: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        along = offsets @ axes.T
        return *(along[:, :2] / np.maximum(along[:, 2:], 1e-3)).T, columns.lengths(offsets)

    (column, row, distance), (column_around, row_around, distance_around) = image(seen), image(around)
    sides = []
    for sign in (-1.0, 1.0):
        outward = sign * column
        end = float(columns.percentiles(outward, 100.0 - TRIM)[0])
        edge = _EDGE * max(end - float(outward.min()), float(np.ptp(row)))
        last = outward > end - edge
        low, high = columns.percentiles(row[last], 5.0, 95.0)
        beside = (np.abs(sign * column_around - end) < edge) & (row_around >= low) & (row_around <= high)
        nearer = distance_around[beside] < columns.percentiles(distance[last], 10.0)[0] - _NEARER
        sides.append(bool(nearer.sum() >= _ENOUGH and nearer.mean() > 0.5))
    return sides[0], sides[1]


def _axes_towards_camera(
    centre: NDArray[np.float64], up: NDArray[np.float64], viewpoint: NDArray[np.float64]
) -> NDArray[np.float64]:
    """(3, 3) rows x, y, z: z = up, x horizontal from centre to viewpoint."""
    towards = viewpoint - centre
    horizontal = towards - (towards @ up) * up
    if np.linalg.norm(horizontal) < 1e-6 * max(1.0, float(np.linalg.norm(towards))):
        # Straight from above there is no such direction; any fixed one serves.
        fallback = np.eye(3)[np.argmin(np.abs(up))]
        horizontal = fallback - (fallback @ up) * up
    x_axis = horizontal / np.linalg.norm(horizontal)
    return np.stack([x_axis, columns.cross(up, x_axis), up])
