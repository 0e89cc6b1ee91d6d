"""The support plane: the table, or the floor, that the objects stand on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from onet_ros import columns
from onet_ros.scene.cloud import depth_noise
from onet_ros.settings import check_settings, setting

_TABLE_AREA = 0.12  # square metres; a level surface this large is a table, even if it stands on a floor


@dataclass(frozen=True, eq=False)
class SupportPlane:
    """The plane normal . X + offset = 0; normal . X + offset is the height of X above it.

    Attributes:
        normal: (3,) float64, unit length, pointing up: to the side of the objects and the camera.
        offset: metres.
    """

    normal: NDArray[np.float64]
    offset: float

    def __post_init__(self) -> None:
        normal = np.asarray(self.normal, dtype=np.float64)
        if normal.shape != (3,) or not abs(np.linalg.norm(normal) - 1.0) < 1e-6:
            raise ValueError(f"normal must be 3 numbers of unit length, got {self.normal!r}")
        if not math.isfinite(self.offset):
            raise ValueError(f"offset must be finite, got {self.offset!r}")
        object.__setattr__(self, "normal", normal)
        object.__setattr__(self, "offset", float(self.offset))

    @classmethod
    def from_coefficients(cls, coefficients: ArrayLike) -> SupportPlane:
        """From (4,) nx, ny, nz, d of any non-zero scale. Raises ValueError quoting what is no plane."""
        values = np.asarray(coefficients, dtype=np.float64)
        if values.shape != (4,) or not np.isfinite(values).all() or not np.linalg.norm(values[:3]) > 1e-12:
            raise ValueError(f"a plane is 4 finite numbers with a non-zero normal, got {coefficients!r}")
        values = values / np.linalg.norm(values[:3])
        return cls(values[:3], float(values[3]))

    @property
    def coefficients(self) -> NDArray[np.float64]:
        """(4,) float64: nx, ny, nz, d."""
        return np.append(self.normal, self.offset)

    def height(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """(..., 3) metres -> (...) metres above the plane, in the precision of the points."""
        return points @ self.normal.astype(points.dtype) + points.dtype.type(self.offset)

    def axes(self) -> NDArray[np.float64]:
        """(2, 3) float64: two unit vectors that span the plane; always the same two for the same normal."""
        helper = np.eye(3)[np.abs(self.normal).argmin()]
        first = columns.cross(self.normal, helper)
        first /= np.linalg.norm(first)
        return np.stack([first, columns.cross(self.normal, first)])

    def transformed(self, T_target_source: ArrayLike) -> SupportPlane:
        """The same plane in another frame. T_target_source: (4, 4), rigid."""
        transform = np.asarray(T_target_source, dtype=np.float64)
        normal = transform[:3, :3] @ self.normal
        return SupportPlane.from_coefficients([*normal, self.offset - normal @ transform[:3, 3]])


@dataclass(frozen=True)
class PlaneSettings:
    """How the support plane is looked for."""

    distance_threshold: float = setting(
        0.01, "Points this near to a candidate plane count as lying on it", unit="m", minimum=0.001, maximum=0.1
    )
    min_inlier_fraction: float = setting(
        0.1, "Share of all points that must lie on the support plane", minimum=0.01, maximum=1.0
    )
    max_tilt: float = setting(
        0.5, "Angle between the plane's normal and `up` that is still a table", unit="rad", minimum=0.01, maximum=1.6
    )
    max_object_height: float = setting(
        0.5, "Points higher than this above a plane do not speak for it", unit="m", minimum=0.01, maximum=3.0
    )
    candidates: int = setting(4, "Planes that are compared, the largest first", minimum=1, maximum=20)
    sample_size: int = setting(
        4000, "Points on which the candidates are found and compared", minimum=100, maximum=100000
    )
    fit_size: int = setting(
        20_000, "Points, as measured, to which the chosen plane is fitted", minimum=100, maximum=5_000_000
    )
    iterations: int = setting(200, "RANSAC hypotheses for each candidate", minimum=10, maximum=10000)
    reuse: int = setting(
        30,
        "Clouds for which a plane that the points still support is kept before all planes are compared again",
        minimum=0,
        maximum=1_000_000,
    )
    seed: int = setting(
        0, "Seed of the random choices: the same cloud gives the same plane", minimum=0, maximum=2**31 - 1
    )

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class PlaneFit:
    """What `find_support_plane` found.

    Attributes:
        plane: the support plane; None when there is none.
        reason: why there is none; empty otherwise.
        inlier_fraction: share of all points that lie on the plane.
    """

    plane: SupportPlane | None
    reason: str
    inlier_fraction: float = 0.0


# A plane and the points (N, 3) of the sample that lie on it and on none found before.
_Found = tuple[SupportPlane, NDArray[np.float64]]


@dataclass(frozen=True)
class _Candidate:
    """A plane with its evidence.

    Attributes:
        lying: points of the sample that lie on it and on no larger plane.
        standing: points of the sample that stand on it.
        area: square metres of surface that were seen.
        middle: (3,) float64, metres: of the points that lie on it.
    """

    plane: SupportPlane
    lying: int
    standing: int
    area: float
    middle: NDArray[np.float64]

    @property
    def carries(self) -> bool:
        """Whether something stands on it: fewer points may be noise."""
        return self.standing >= 5


def find_support_plane(
    points: ArrayLike,
    viewpoint: ArrayLike = (0.0, 0.0, 0.0),
    settings: PlaneSettings | None = None,
    up: ArrayLike | None = None,
) -> PlaneFit:
    """The plane that carries the objects, to a fraction of the sensor's noise, or the reason why there is none.

    The largest planes of a sample are found by RANSAC one after the other (Open3D). Of those that the camera sees from
    above, and that lie level where `up` is given, the one is taken that explains most of the view: the points that lie
    on it and those that stand on it. It is then fitted again to points as they were measured.

    Args:
        points: (N, 3) float, metres, any frame; rows with NaN are left out.
        viewpoint: (3,) metres, same frame: where the camera stood.
        up: (3,), same frame, any length: against gravity. Without it a wall on which things hang, and which fills more
            of the view than the table with its objects, is taken for the support.
    """
    settings = settings or PlaneSettings()
    cloud = np.asarray(points)
    if cloud.ndim != 2 or cloud.shape[1] != 3:
        raise ValueError(f"points must be (N, 3), got shape {cloud.shape}")
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.isfinite(cloud[:, 0] + cloud[:, 1] + cloud[:, 2])  # many times faster than all(axis=1)
    if not finite.all():
        cloud = cloud[finite]
    if len(cloud) < 10:
        return PlaneFit(None, f"a plane needs 10 points, got {len(cloud)}")
    view = np.asarray(viewpoint, dtype=np.float64)
    rng = np.random.default_rng(settings.seed)
    # Drawn with replacement: a point twice does no harm, and a permutation of the cloud would cost more than the fit.
    sample = cloud[rng.integers(len(cloud), size=settings.sample_size)].astype(np.float64)
    found = _largest_planes(sample, view, settings)
    if not found:
        return PlaneFit(None, f"no plane holds {settings.min_inlier_fraction:.0%} of the {len(cloud)} points")
    planes, refusals = _admissible(found, view, settings, up)
    if not planes:
        return PlaneFit(None, "no support plane: " + "; ".join(refusals))
    best = _most_explaining([_evidence(plane, lying, sample, view, settings) for plane, lying in planes])
    plane = refined_plane(best.plane, cloud[rng.integers(len(cloud), size=settings.fit_size)], view, settings)
    return PlaneFit(plane, "", best.lying / len(sample))


def _largest_planes(sample: NDArray[np.float64], view: NDArray[np.float64], settings: PlaneSettings) -> list[_Found]:
    """Planes that hold enough of the sample, turned to the camera; the largest first."""
    import open3d as o3d  # here, because it takes a second to load and only this and two file formats need it

    planes: list[_Found] = []
    rest = sample
    enough = max(3, settings.min_inlier_fraction * len(sample))
    while len(planes) < settings.candidates and len(rest) >= enough:
        o3d.utility.random.seed(settings.seed)
        cloud = o3d.geometry.PointCloud(o3d.utility.Vector3dVector(rest))
        # Probability 1 switches off early stopping, which depends on the timing of threads.
        coefficients, inliers = cloud.segment_plane(
            settings.distance_threshold, ransac_n=3, num_iterations=settings.iterations, probability=1.0
        )
        if len(inliers) < enough:
            break
        plane = SupportPlane.from_coefficients(coefficients)
        facing = plane if plane.height(view) >= 0 else SupportPlane(-plane.normal, -plane.offset)
        planes.append((facing, rest[inliers]))
        rest = np.delete(rest, inliers, axis=0)
    return planes


def _admissible(
    planes: list[_Found],
    view: NDArray[np.float64],
    settings: PlaneSettings,
    up: ArrayLike | None,
) -> tuple[list[_Found], list[str]]:
    """The planes that a camera can look down on, and why the others are none."""
    kept, refusals = [], []
    for plane, lying in planes:
        refusal = _refusal(plane, view, settings, up)
        if refusal:
            refusals.append(refusal)
        else:
            kept.append((plane, lying))
    return kept, refusals


def is_admissible(
    plane: SupportPlane, view: NDArray[np.float64], settings: PlaneSettings, up: ArrayLike | None
) -> bool:
    """Whether a camera at `view` looks down on the plane, and the plane lies level where `up` is known."""
    return not _refusal(plane, view, settings, up)


def _refusal(plane: SupportPlane, view: NDArray[np.float64], settings: PlaneSettings, up: ArrayLike | None) -> str:
    """Why the plane is not admissible; empty when it is."""
    above = float(plane.height(view))
    if above < settings.distance_threshold:
        return f"the camera lies in a plane ({above:.3f} m above it)"
    if up is not None:
        upward = np.asarray(up, dtype=np.float64)
        tilt = math.acos(np.clip(plane.normal @ upward / np.linalg.norm(upward), -1.0, 1.0))
        if tilt > settings.max_tilt:
            return f"a plane is tilted by {tilt:.2f} rad (max_tilt {settings.max_tilt:.2f})"
    return ""


def _evidence(
    plane: SupportPlane,
    lying: NDArray[np.float64],
    sample: NDArray[np.float64],
    view: NDArray[np.float64],
    settings: PlaneSettings,
) -> _Candidate:
    """Count what stands on a plane, given the points (N, 3) of the sample that lie on it.

    Standing are the points of every vertical column that begins close to the plane, inside the plane's own outline. The
    wall at the end of a table does not stand on it, nor the table on the wall: each begins at the other's outline.
    """
    height = plane.height(sample)
    outline = PlaneOutline.around(plane, lying, view)
    above = (height >= settings.distance_threshold) & (height < settings.max_object_height)
    above &= outline.contains(sample)
    cells = outline.cells(sample[above])
    order = np.argsort(height[above])
    _, first, column = np.unique(cells[order], return_index=True, return_inverse=True)
    begins = height[above][order][first] < 5 * settings.distance_threshold
    return _Candidate(plane, len(lying), int(begins[column].sum()), outline.seen_area, np.median(lying, axis=0))


def _most_explaining(candidates: list[_Candidate]) -> _Candidate:
    """The candidate that explains most points, of those on which something stands if there is any.

    However much of the view the floor fills, objects are grasped from the table that stands on it: a parallel plane
    further up wins when something stands on it and it is larger than the top of a box.
    """
    best = max(candidates, key=lambda one: (one.carries, one.lying + one.standing))
    for other in candidates:
        parallel = other.plane.normal @ best.plane.normal > math.cos(math.radians(5.0))
        higher = best.plane.height(other.middle) > 0.03
        if parallel and higher and other.carries and other.area > _TABLE_AREA:
            best = other
    return best


def refined_plane(
    plane: SupportPlane, cloud: NDArray[np.floating], view: NDArray[np.float64], settings: PlaneSettings
) -> SupportPlane:
    """Weighted least squares on the cloud's inliers, repeated while the inlier band narrows to the noise.

    The depth's noise moves a table point along its ray, and so its height by the noise times the cosine of incidence:
    weights and band are in units of that. The narrow band also keeps out the feet of objects, which lie on one side.
    """
    centred = cloud - view.astype(cloud.dtype)
    distance = columns.lengths(centred)
    local = SupportPlane(plane.normal, float(plane.height(view)))
    sigma = depth_noise(distance) * abs(local.offset) / np.maximum(distance, 1e-6)
    band = settings.distance_threshold / float(np.median(sigma))
    for _ in range(5):
        residual = local.height(centred) / sigma
        inside = np.abs(residual) < band
        if inside.sum() < 10:
            break
        local = _least_squares(columns.rows(centred, inside), 1.0 / np.square(sigma[inside]), local)
        spread = 1.4826 * float(np.median(np.abs(residual[inside])))
        band = min(band, max(3.0 * spread, 1e-3))
    return SupportPlane.from_coefficients([*local.normal, local.offset - local.normal @ view])


def _least_squares(points: NDArray[np.floating], weights: NDArray[np.floating], facing: SupportPlane) -> SupportPlane:
    """The plane with the least weighted sum of squared heights, turned as `facing`."""
    share = weights / weights.sum(dtype=np.float64)
    centre = (share @ points).astype(np.float64)
    offsets = points - centre.astype(points.dtype)
    covariance = (offsets * share[:, None]).T.astype(np.float64) @ offsets
    normal = np.linalg.eigh(covariance)[1][:, 0]
    normal *= np.sign(normal @ facing.normal) or 1.0
    return SupportPlane.from_coefficients([*normal, -normal @ centre])


@dataclass(frozen=True, eq=False)
class PlaneOutline:
    """Where a plane has surface to stand on, as a grid of cells.

    Attributes:
        plane: the plane.
        filled: (rows, columns) bool, True where there is surface.
        origin: (2,) float64, metres: the grid's corner along the plane's axes.
        cell: edge of a cell, metres.
        seen_area: square metres of the cells in which surface was seen.
    """

    plane: SupportPlane
    filled: NDArray[np.bool_]
    origin: NDArray[np.float64]
    cell: float
    seen_area: float

    @classmethod
    def around(
        cls, plane: SupportPlane, points: NDArray[np.floating], view: NDArray[np.float64], cell: float = 0.04
    ) -> PlaneOutline:
        """The convex hull, less one cell all round, of the largest connected patch of surface and the camera's foot.

        The hull covers what objects hide. The camera's foot is in it because the surface goes on below the view: an
        object at the lower border of the image stands on something.

        Args:
            points: (N, 3) metres, N >= 1, lying on the plane.
            view: (3,) metres: where the camera is.
            cell: metres; not finer than the points' spacing.
        """
        axes = plane.axes().astype(points.dtype)
        flat = points @ axes.T
        # A camera that looks far over a floor must not make the grid huge: the far end is no place to grasp at. The
        # middle is a point, so that one remains where the median lies between patches far apart.
        middle = flat[columns.lengths(flat - np.median(flat, axis=0)).argmin()]
        flat = columns.rows(flat, columns.in_all(np.abs(flat - middle) < 4.0))
        foot = np.clip(axes @ view, middle - 4.0, middle + 4.0)
        origin = np.minimum(flat.min(axis=0), foot).astype(np.float64) - cell
        index, foot_index = ((flat - origin) / cell).astype(np.int32), ((foot - origin) / cell).astype(np.int32)
        occupied = np.zeros(np.maximum(index.max(axis=0), foot_index) + 2, np.uint8)
        occupied[index[:, 0], index[:, 1]] = 1
        patch = _largest_patch(occupied)
        corners = np.vstack([np.argwhere(patch), foot_index]).astype(np.int32)
        filled = np.zeros_like(occupied)
        cv2.fillConvexPoly(filled, cv2.convexHull(corners)[:, :, ::-1], 1)  # OpenCV's x is the column
        return cls(
            plane, cv2.erode(filled, np.ones((3, 3), np.uint8)).astype(bool), origin, cell, float(patch.sum()) * cell**2
        )

    def cells(self, points: NDArray[np.floating]) -> NDArray[np.int64]:
        """(N, 3) metres -> (N,) int64: the number of the cell below each point, -1 outside the grid."""
        flat = points @ self.plane.axes().T.astype(points.dtype)
        row, column = ((flat - self.origin) // self.cell).astype(np.int64).T
        height, width = self.filled.shape
        outside = (row < 0) | (row >= height) | (column < 0) | (column >= width)
        return np.where(outside, -1, row * width + column)

    def contains(self, points: NDArray[np.floating]) -> NDArray[np.bool_]:
        """(N, 3) metres -> (N,) bool: True where the plane has surface below the point."""
        cells = self.cells(points)
        return self.filled.ravel()[cells] & (cells >= 0)


def _largest_patch(occupied: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """The occupied cells of the largest group of them, of those that are at most two cells apart."""
    closed = cv2.morphologyEx(occupied, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    count, group = cv2.connectedComponents(closed, connectivity=8)
    sizes = np.bincount(group[occupied > 0], minlength=count)
    return (group == int(sizes.argmax())) & (occupied > 0)
