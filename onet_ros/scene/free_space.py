"""Where the camera saw that there is nothing: in front of everything that it measured.

The rays that end on an object and around it are sorted into the cells of an image. In each cell the space up to the
nearest of their ends, there and in the cells around it, is free. What lies behind is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros.columns import bounds, in_all, mean
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
        inside = np.flatnonzero(in_all((image >= low) & (image < high)))
        cells = int(np.clip(np.sqrt(len(inside) / POINTS_PER_CELL), *CELLS))
        edge = float((high - low).max()) / cells
        columns, rows = (np.ceil((high - low) / edge).astype(int)).tolist()
        column, row = ((image.take(inside, axis=0) - low) / edge).astype(int).T
        nearest = np.full(rows * columns, np.inf, dtype=np.float32)
        place = row.clip(max=rows - 1) * columns + column.clip(max=columns - 1)
        np.minimum.at(nearest, place, (ends.take(inside, axis=0) @ axes[2]).astype(np.float32))
        depth = np.maximum(_free_depth(nearest.reshape(rows, columns)) - TOLERANCE, 0.0).astype(np.float32)
        return cls(eye, axes, low, edge, depth)

    def margin(self, points: ArrayLike) -> NDArray[np.float64]:
        """(N,) metres by which points (N, 3), source frame, lie behind what is free; negative for those that are free,
        infinite where nothing is known."""
        image, depth = self._image(points)
        return self._margin(image, depth)

    def volume_in(self, vertices: NDArray[np.float64], faces: NDArray[np.int64]) -> float:
        """m^3 of a closed mesh, outward, source frame, that lie in what is free.

        Between depths z and D, a part dA of the image is the base of a volume of (D^3 - z^3) dA / 3. Summed over all
        triangles in front of the end D of what is free, by the sign of their area in the image, that is the part of
        the solid in front of D: where a ray enters it counts, and where it leaves it again is taken off.
        """
        image, depth = self._image(vertices)
        margin = self._margin(image, depth)
        free = margin < 0.0
        a, b, c = np.ascontiguousarray(faces.T)
        some = np.flatnonzero(free.take(a) | free.take(b) | free.take(c))
        if not len(some):
            return 0.0
        end = np.where(free, depth - np.where(free, margin, 0.0), depth)
        volume = (end**3 - depth**3) / 3.0
        chosen = faces.take(some, axis=0)
        return float(-(_image_areas(image, chosen) * volume[chosen].mean(axis=1)).sum())

    def _image(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(N, 2) pinhole coordinates and (N,) depth, metres, of points (N, 3)."""
        along = (np.asarray(points, dtype=np.float64) - self.eye) @ self.axes.T
        depth = along[:, 2]
        return along[:, :2] / np.maximum(depth, 1e-6)[:, None], depth

    def _margin(self, image: NDArray[np.float64], depth: NDArray[np.float64]) -> NDArray[np.float64]:
        place = (image - self.low) / self.edge - 0.5
        height, width = self.depth.shape
        known = (depth > 1e-3) & in_all((place >= 0.0) & (place <= np.array([width - 1, height - 1])))
        column, row = np.where(known[:, None], place, 0.0).T
        x, y = (np.minimum(p.astype(int), n - 2) for p, n in ((column, width), (row, height)))
        right, below = column - x, row - y
        upper = (1.0 - right) * self.depth[y, x] + right * self.depth[y, x + 1]
        lower = (1.0 - right) * self.depth[y + 1, x] + right * self.depth[y + 1, x + 1]
        free = (1.0 - below) * upper + below * lower
        return np.where(known & (free > 0.0), depth - free, np.inf)


def _image_areas(image: NDArray[np.float64], faces: NDArray[np.int64]) -> NDArray[np.float64]:
    """(F,) signed areas of triangles in the image (V, 2), positive for those that face away from the camera."""
    x, y = np.ascontiguousarray(image.T)
    a, b, c = np.ascontiguousarray(faces.T)
    return 0.5 * ((x[b] - x[a]) * (y[c] - y[a]) - (x[c] - x[a]) * (y[b] - y[a]))


def _free_depth(nearest: NDArray[np.float32]) -> NDArray[np.float32]:
    """(H, W) nearest ends of the rays in each cell, inf where there are none -> the least of each cell and the eight
    around it; 0 where that is not known."""
    around = np.pad(nearest, 1, constant_values=np.inf)
    height, width = nearest.shape
    shifted = [around[i : i + height, j : j + width] for i in range(3) for j in range(3)]
    known = sum(np.isfinite(one).astype(np.int8) for one in shifted)
    least = np.minimum.reduce(shifted)
    usable = np.isfinite(nearest) | (np.asarray(known) >= FILLED_FROM)
    return np.where(usable, least, 0.0).astype(np.float32)
