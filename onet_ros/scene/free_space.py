"""Where the camera saw that there is nothing: in front of everything that it measured.

The rays that end on an object and around it are sorted into the cells of an image. In each cell the space up to the
nearest of their ends, there and in the cells around it, is free. What lies behind is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.columns import bounds, mean
from onet_ros.cpu_kernels import compiled
from onet_ros.scene.surroundings import WIDE, pinhole_image, view_axes

POINTS_PER_CELL = 4  # on average: few cells are empty by chance then
CELLS = (12, 128)  # fewest and most along an edge of the image
FILLED_FROM = 7  # of a cell's eight neighbours: so many must be known for a cell without a ray to be taken for a gap
# Metres. The nearest of the some thirty rays about a place ends two standard deviations of the sensor's noise in front
# of the surface already, so that this is for noise-free clouds.
TOLERANCE = 0.0005


@dataclass(frozen=True, eq=False)
class FreeSpace:
    """How far a camera saw through, by direction; source frame, metres.

    Attributes:
        eye: (3,) float64, where the camera stood.
        axes: (3, 3) float64, rows: two axes across the line of sight to the object, and the line of sight.
        low: (2,) float64, pinhole coordinates of the corner of the first cell.
        edge: of a cell, in these coordinates.
        depth: (H, W) float32, metres along the line of sight: in the middle of a cell what is nearer is free. 0 where
            nothing is known. Between the middles it is to be interpolated bilinearly.
    """

    eye: NDArray[np.float64]
    axes: NDArray[np.float64]
    low: NDArray[np.float64]
    edge: float
    depth: NDArray[np.float32]

    @classmethod
    def about(cls, points: ArrayLike, around: ArrayLike, viewpoint: ArrayLike) -> FreeSpace | None:
        """In the image of an object and as much around it as matters.

        Args:
            points: (N, 3) metres, source frame, seen of the object, N >= 1.
            around: (M, 3) metres, source frame, seen around it; M may be 0.
            viewpoint: (3,) metres, source frame.

        Returns:
            None where the points have no extent in the image.
        """
        eye, own = np.asarray(viewpoint, dtype=np.float64), np.asarray(points, dtype=np.float64)
        axes = view_axes(mean(own) - eye).astype(np.float64)
        ends = np.concatenate([own, np.asarray(around, dtype=np.float64).reshape(-1, 3)]) - eye
        image = pinhole_image(ends.astype(np.float32), axes.astype(np.float32)).astype(np.float64)
        low, high = bounds(image[: len(own)])
        margin = (WIDE - 1.0) / 2.0 * float((high - low).max())
        if not margin > 0.0:
            return None
        low, high = low - margin, high + margin
        inside = int(_count_inside(image, low, high))
        cells = int(np.clip(np.sqrt(inside / POINTS_PER_CELL), *CELLS))
        edge = float((high - low).max()) / cells
        columns, rows = (np.ceil((high - low) / edge).astype(int)).tolist()
        nearest, depth = np.full((2, rows, columns), np.inf, dtype=np.float32)
        _sort_in(image, ends, axes[2], low, high, edge, nearest)
        _fill_free_depth(nearest, depth)
        return cls(eye, axes, low, edge, depth)

    def margin(self, points: ArrayLike) -> NDArray[np.float64]:
        """(N,) metres by which points (N, 3), source frame, lie behind what is free; negative for those that are free,
        infinite where nothing is known."""
        return self._behind(np.asarray(points, dtype=np.float64).reshape(-1, 3))[2]

    def volume_in(self, vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
        """m^3 of a closed mesh, outward, source frame, that lie in what is free.

        Between depths z and D, a part dA of the image is the base of a volume of (D^3 - z^3) dA / 3. Summed over all
        triangles in front of the end D of what is free, by the sign of their area in the image, that is the part of
        the solid in front of D: where a ray enters it counts, and where it leaves it again is taken off.
        """
        image, depth, margin = self._behind(vertices)
        return float(_volume_in_front(np.ascontiguousarray(faces), image, depth, margin))

    def _behind(self, points: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
        """Of points (N, 3), source frame, (N, 2) pinhole coordinates, (N,) depth and (N,) `margin`, metres."""
        image, depth, margin = np.empty((len(points), 2)), np.empty(len(points)), np.empty(len(points))
        camera = self.eye, self.axes, self.low, self.edge, self.depth
        _look_at(np.ascontiguousarray(points), camera, image, depth, margin)
        return image, depth, margin


@compiled
def _look_at(
    points: NDArray[np.float64],
    camera: tuple[Any, ...],
    image: NDArray[np.float64],
    depth: NDArray[np.float64],
    margin: NDArray[np.float64],
) -> None:
    eye, axes, low, edge, free = camera
    rows, columns = free.shape
    for i in range(len(points)):
        x, y, z = points[i, 0] - eye[0], points[i, 1] - eye[1], points[i, 2] - eye[2]
        depth[i] = x * axes[2, 0] + y * axes[2, 1] + z * axes[2, 2]
        for axis in range(2):
            image[i, axis] = (x * axes[axis, 0] + y * axes[axis, 1] + z * axes[axis, 2]) / max(depth[i], 1e-6)
        across, down = (image[i, 0] - low[0]) / edge - 0.5, (image[i, 1] - low[1]) / edge - 0.5
        margin[i] = np.inf
        if depth[i] > 1e-3 and 0.0 <= across <= columns - 1 and 0.0 <= down <= rows - 1:
            column, row = min(int(across), columns - 2), min(int(down), rows - 2)
            right, below = across - column, down - row
            upper = (1.0 - right) * free[row, column] + right * free[row, column + 1]
            lower = (1.0 - right) * free[row + 1, column] + right * free[row + 1, column + 1]
            end = (1.0 - below) * upper + below * lower
            if end > 0.0:
                margin[i] = depth[i] - end


@compiled
def _volume_in_front(
    faces: NDArray[np.int64], image: NDArray[np.float64], depth: NDArray[np.float64], margin: NDArray[np.float64]
) -> float:
    """`FreeSpace.volume_in` for what `_look_at` finds of the vertices."""
    total = 0.0
    for face in faces:
        deep = 0.0
        for corner in face:
            if margin[corner] < 0.0:
                deep += (depth[corner] - margin[corner]) ** 3 - depth[corner] ** 3
        if deep > 0.0:
            a, b, c = image[face[0]], image[face[1]], image[face[2]]
            total -= ((b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])) * deep
    return total / 18.0  # halves of areas, thirds of volumes, thirds of the corners


@compiled
def _count_inside(image: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64]) -> int:
    count = 0
    for i in range(len(image)):
        count += low[0] <= image[i, 0] < high[0] and low[1] <= image[i, 1] < high[1]
    return count


@compiled
def _sort_in(
    image: NDArray[np.float64],
    ends: NDArray[np.float64],
    forward: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    edge: float,
    nearest: NDArray[np.float32],
) -> None:
    """The depth (H, W) of the nearest end of a ray in each cell; left as it is where there is none."""
    rows, columns = nearest.shape
    for i in range(len(image)):
        if low[0] <= image[i, 0] < high[0] and low[1] <= image[i, 1] < high[1]:
            column = min(int((image[i, 0] - low[0]) / edge), columns - 1)
            row = min(int((image[i, 1] - low[1]) / edge), rows - 1)
            depth = np.float32(ends[i, 0] * forward[0] + ends[i, 1] * forward[1] + ends[i, 2] * forward[2])
            nearest[row, column] = min(nearest[row, column], depth)


@compiled
def _fill_free_depth(nearest: NDArray[np.float32], depth: NDArray[np.float32]) -> None:
    """Nearest ends of the rays in cells (H, W), inf where there are none -> a little less than the least of each cell
    and the eight around it; 0 where that is not known."""
    rows, columns = nearest.shape
    for row in range(rows):
        for column in range(columns):
            known, least = 0, np.inf
            for i in range(max(row - 1, 0), min(row + 2, rows)):
                for j in range(max(column - 1, 0), min(column + 2, columns)):
                    if np.isfinite(nearest[i, j]):
                        known, least = known + 1, min(least, nearest[i, j])
            usable = np.isfinite(nearest[row, column]) or known >= FILLED_FROM
            depth[row, column] = max(least - TOLERANCE, 0.0) if usable else 0.0
