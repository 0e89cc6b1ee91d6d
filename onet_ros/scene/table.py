"""The part of the support plane that a cloud shows."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from onet_ros import columns
from onet_ros.scene.cloud import PointCloud
from onet_ros.scene.plane import SupportPlane

LOOKED_AT = 20_000  # points of the cloud
CLOSE = 0.01  # metres from the plane, within which a point is on it
FEWEST = 50  # points that make a table
STRAYS = 0.5  # per cent of them at each end that may lie on something else of the same height


@dataclass(frozen=True)
class TableTop:
    """A rectangle; source frame, metres.

    Attributes:
        T_source_table: (4, 4) float64: origin in the middle, z up, x and y along the edges.
        size: (2,) float64, along x and y.
    """

    T_source_table: NDArray[np.float64]
    size: NDArray[np.float64]

    def differs(self, other: TableTop, distance: float) -> bool:
        """Whether a corner of it is farther than `distance` (metres) from the other's nearest one."""
        between = np.linalg.norm(self.corners()[:, None] - other.corners()[None], axis=2)
        return bool(between.min(axis=1).max() > distance)

    def corners(self) -> NDArray[np.float64]:
        """(4, 3)."""
        half = self.size / 2.0 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        flat = np.column_stack([half, np.zeros(4)])
        return np.asarray(flat @ self.T_source_table[:3, :3].T + self.T_source_table[:3, 3])


def seen_table(cloud: PointCloud, plane: SupportPlane) -> TableTop | None:
    """The smallest rectangle about the points of a cloud that lie on a plane; None where there are next to none."""
    points = cloud.valid_points
    points = points[:: max(1, len(points) // LOOKED_AT)].astype(np.float64)
    points = columns.rows(points, np.abs(plane.height(points)) < CLOSE)
    if len(points) < FEWEST:
        return None
    axes = plane.axes()
    flat = points @ axes.T
    low, high = columns.percentiles(flat, STRAYS, 100.0 - STRAYS)
    flat = columns.rows(flat, columns.in_all((flat >= low) & (flat <= high)))
    (u, v), size, degrees = cv2.minAreaRect(flat.astype(np.float32))
    angle = np.radians(degrees)
    x = np.cos(angle) * axes[0] + np.sin(angle) * axes[1]
    T_source_table = np.eye(4)
    T_source_table[:3, :3] = np.stack([x, np.cross(plane.normal, x), plane.normal], axis=1)
    T_source_table[:3, 3] = u * axes[0] + v * axes[1] - plane.offset * plane.normal
    return TableTop(T_source_table, np.array(size, dtype=np.float64))
